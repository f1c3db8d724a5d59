"""Utility: what is learned from good and from useless images, for every kind of image, repeatably."""

import importlib

import pytest
import torch

from common.datasets import DATASETS
from common.errors import DataError
from common.examples import ImageSpec
from common.metrics import METRICS
from common.metrics.comparison import Comparison, Reference, Sample
from common.metrics.utility import utility
from common.seeding import torch_generator

utility_file = importlib.import_module("common.metrics.utility")  # the package has a function of that name


def blobs(count: int, channels: int, size: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns noisy images with a bright square in the quadrant that the label names."""
    labels = torch.arange(count) % 4
    noise = torch.randint(0, 60, (count, channels, size, size), generator=torch_generator(seed, "blobs"))
    half = size // 2
    for quadrant in range(4):
        top, left = quadrant // 2 * half, quadrant % 2 * half
        noise[quadrant::4, :, top + 2 : top + half - 2, left + 2 : left + half - 2] += 150
    return noise.to(torch.uint8), labels


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (1, 64)])
def test_images_that_show_their_labels_teach_and_each_seed_gives_one_value(channels: int, size: int) -> None:
    images, labels = blobs(200, channels, size, 0)
    test = blobs(60, channels, size, 1)
    before = torch.random.get_rng_state()
    values = [utility(images, labels, *test, seed=7, epochs=6, num_classes=4) for _ in range(2)]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert values[0] == values[1]
    assert 0.9 <= values[0] <= 1


def test_the_classifier_is_trained_where_the_model_is(monkeypatch) -> None:
    class Elsewhere(torch.nn.Module):
        device = torch.device("meta")

    images, labels = blobs(20, 1, 28, 0)
    seen: list[str] = []
    monkeypatch.setattr(utility_file, "utility", lambda *given, **_: seen.append(given[0].device.type) or 0.5)
    monkeypatch.setattr(utility_file, "logistic_accuracy", lambda *given, **_: 0.25)
    spec = ImageSpec(1, 28, 4)
    for sampler in (None, Elsewhere()):
        compared = Comparison(Reference(images, labels, spec, None), Sample(images, labels, spec, None), 0, sampler)
        assert METRICS["utility"].compute(compared) == {"utility": 0.5, "utility-logreg": 0.25}
    assert seen == ["cpu", "meta"]


def test_wrong_labels_teach_the_wrong_thing() -> None:
    images, labels = blobs(400, 1, 28, 0)
    assert utility(images, (labels + 1) % 4, *blobs(100, 1, 28, 1), seed=0, epochs=6, num_classes=4) <= 0.1


def test_a_missing_class_costs_its_share() -> None:
    images, labels = blobs(400, 1, 28, 0)
    seen = labels != 3
    value = utility(images[seen], labels[seen], *blobs(100, 1, 28, 1), seed=0, epochs=8, num_classes=4)
    assert 0.65 <= value <= 0.75


def test_other_seeds_train_other_networks() -> None:
    images = torch.randint(0, 256, (200, 1, 28, 28), generator=torch_generator(0, "noise"), dtype=torch.uint8)
    labels = torch.arange(200) % 10
    values = {utility(images, labels, *blobs(500, 1, 28, 1), seed=seed, epochs=1) for seed in range(4)}
    assert len(values) > 1


@pytest.mark.slow
def test_real_digits_teach_to_read_digits() -> None:
    digits = DATASETS["mnist-10k"]().load(None)
    value = utility(digits.train.images, digits.train.labels, digits.test.images, digits.test.labels, seed=0)
    assert 0.965 <= value <= 0.995


def test_images_and_labels_that_do_not_fit_are_refused() -> None:
    images, labels = blobs(8, 1, 28, 0)
    for generated, classes, test, message in (
        (images.float(), labels, images, "generated images of shape .* are not uint8"),
        (images[:, :, 1:], labels, images, r"are not uint8 \(N, C, H, H\)"),
        (images, labels[1:], images, r"8 generated images.*labels of shape \(7,\)"),
        (images, labels + 9, images, r"generated images lie outside \[0, 10\)"),
        (images, labels, blobs(8, 3, 28, 0)[0], "differ in kind"),
    ):
        with pytest.raises(DataError, match=message):
            utility(generated, classes, test, labels, seed=0)
    with pytest.raises(DataError, match="1 generated images, at least 2"):
        utility(images[:1], labels[:1], images, labels, seed=0)
