"""Extractors: the contract of every entry."""

import pytest
import torch

from common import tree
from common.errors import ConfigError, DataError
from common.metrics import Moments, extractors, frechet_distance, random_vgg
from common.metrics.classifier import load_classifier
from common.metrics.extractors import EXTRACTORS, extractor_name, make_extractor
from common.metrics.supervised import to_float
from common.seeding import torch_generator


def pixels(count: int, channels: int, size: int) -> torch.Tensor:
    generator = torch_generator(0, "pixels", count, channels, size)
    return torch.randint(256, (count, channels, size, size), generator=generator, dtype=torch.uint8)


def test_each_entry_is_listed_under_its_own_name() -> None:
    assert {name: extractor.name for name, extractor in EXTRACTORS.items()} == {name: name for name in EXTRACTORS}


def test_mnist_features_are_the_classifiers_whatever_the_chunks() -> None:
    images = pixels(1001, 1, 28)
    features = make_extractor("mnist-cnn")(images)
    assert features.shape == (1001, 64)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, load_classifier().features(images / 127.5 - 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "channels", "size", "accepted"),
    [
        ("mnist-cnn", 1, 28, True),
        ("mnist-cnn", 3, 28, False),
        ("mnist-cnn", 1, 32, False),
        ("mnist-cnn-channels", 3, 28, True),
        ("mnist-cnn-channels", 1, 28, False),
        ("mnist-cnn-channels", 3, 32, False),
        ("random-vgg", 1, 9, True),
        ("random-vgg", 3, 64, True),
        ("random-vgg", 2, 64, False),
        ("inception", 1, 28, True),
        ("inception", 3, 64, True),
        ("inception", 2, 64, False),
    ],
)
def test_says_which_images_it_takes(name: str, channels: int, size: int, accepted: bool) -> None:
    assert EXTRACTORS[name].accepts(channels, size) is accepted


@pytest.mark.parametrize(
    "images",
    [pixels(2, 3, 28), pixels(2, 1, 32), pixels(2, 1, 28).float(), pixels(2, 1, 28)[0], pixels(2, 1, 28)[:, :, :, 1:]],
)
def test_refuses_images_of_another_kind(images: torch.Tensor) -> None:
    with pytest.raises(DataError, match="mnist-cnn does not take images of shape"):
        make_extractor("mnist-cnn")(images)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"did you mean 'inception'\? known: mnist-cnn, mnist-cnn-channels, random-vgg, inception"
    ):
        make_extractor("inceptoin")


@pytest.mark.parametrize(
    ("requested", "channels", "size", "stacks", "name"),
    [
        ("auto", 1, 28, False, "mnist-cnn"),
        ("auto", 3, 28, True, "mnist-cnn-channels"),
        ("auto", 3, 28, False, "random-vgg"),
        ("auto", 3, 32, True, "random-vgg"),
        ("auto", 1, 32, False, "random-vgg"),
        ("auto", 3, 64, False, "random-vgg"),
        ("inception", 3, 28, True, "inception"),
        ("none", 3, 28, True, None),
    ],
)
def test_automatic_choice_leaves_no_pictures_without_features(
    requested: str, channels: int, size: int, stacks: bool, name: str | None
) -> None:
    assert extractor_name(requested, channels, size, stacks_digits=stacks) == name


def test_features_of_channels_are_those_of_each_one_after_another() -> None:
    images = pixels(501, 3, 28)
    features = make_extractor("mnist-cnn-channels")(images)
    assert features.shape == (501, 192)
    for k, part in enumerate(features.split(64, dim=1)):
        torch.testing.assert_close(part, make_extractor("mnist-cnn")(images[:, k : k + 1]), rtol=1e-4, atol=1e-4)


class TestRandomVgg:
    def test_weights_have_the_same_bits_always_and_use_no_global_generator(self) -> None:
        random_vgg._uniform.cache_clear()
        torch.manual_seed(5)
        before = torch.get_rng_state()
        weights = make_extractor("random-vgg").weights()
        assert torch.equal(torch.get_rng_state(), before)
        assert tree.digest(weights) == "66a1d25379438e3eb9c88a37f9ec49ea814b663a6eedf892aef5dd868c7a6ab8"

    def test_weights_have_the_variance_that_relu_layers_keep(self) -> None:
        weights = list(make_extractor("random-vgg").weights().values())
        for weight in weights[1:]:  # the first has 432 numbers only
            fan_in = weight[0].numel()
            assert float(weight.double().var()) * fan_in == pytest.approx(2.0, rel=0.05)
            assert float(weight.abs().max()) <= (6 / fan_in) ** 0.5

    def test_grey_images_are_those_of_equal_channels_and_chunks_do_not_matter(self) -> None:
        images = pixels(103, 1, 20)
        extractor = make_extractor("random-vgg")
        features = extractor(images)
        assert features.shape == (103, 64)
        torch.testing.assert_close(features, extractor(images.repeat(1, 3, 1, 1)), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(features[100:], extractor(images[100:]), rtol=1e-4, atol=1e-4)

    def test_distances_grow_with_damage_and_see_colours_and_missing_kinds(self) -> None:
        extractor = make_extractor("random-vgg")
        whole = squares(240)
        moments = [Moments.of(extractor(part)) for part in (whole[:120], whole[120:])]
        noise = torch.randint(-20, 21, whole.shape, generator=torch_generator(0, "noise"))

        def distance(images: torch.Tensor) -> float:
            return frechet_distance(moments[0], Moments.of(extractor(images)))

        floor = frechet_distance(*moments)
        little, much = (distance((whole[120:] + k * noise[120:]).clamp(0, 255).to(torch.uint8)) for k in (2, 6))
        assert floor < little / 2 < much / 4
        assert distance(whole[120:].flip(1)) > 2 * floor  # red for blue
        assert distance(whole[120:121].expand(120, -1, -1, -1)) > 5 * floor  # one picture


def squares(count: int) -> torch.Tensor:
    """Returns squares of chance place, size and shade of red on a light ground, uint8 (count, 3, 32, 32)."""
    generator = torch_generator(0, "squares")
    images = torch.full((count, 3, 32, 32), 230, dtype=torch.uint8)
    for image in images:
        top, left, side, shade = (int(torch.randint(*ends, (1,), generator=generator)) for ends in _ENDS)
        image[:, top : top + side, left : left + side] = torch.tensor([shade, 60, 50])[:, None, None]
    return images


_ENDS = ((2, 14), (2, 14), (8, 18), (150, 250))


def test_no_more_than_a_bounded_chunk_is_held_as_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def spy(images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return to_float(images)

    monkeypatch.setattr(extractors, "to_float", spy)
    make_extractor("mnist-cnn")(pixels(1201, 1, 28))
    assert sum(sizes) == 1201
    assert max(sizes) <= 500
