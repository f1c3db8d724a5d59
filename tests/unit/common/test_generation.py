import pytest
import torch

from common import generation, threads
from common.errors import DivergenceError
from common.examples import ImageSpec
from common.examples.images import tile
from common.generation import balanced_labels, draw_noise, generate, generate_on_all_cores, load_sampler
from common.models import MODELS
from common.seeding import torch_generator

SPEC = ImageSpec(1, 28, 10)
MODEL = MODELS["mlp"](width=16, latent_size=4)
WEIGHTS = MODEL.build(SPEC, seed=3).state_dict()


@pytest.fixture
def generator():
    return load_sampler(MODEL, SPEC, WEIGHTS)


def test_the_loaded_generator_is_that_of_the_weights(generator):
    noise, labels = torch.randn(3, 4), torch.arange(3)
    expected = MODEL.build(SPEC, seed=3).eval()["generator"](noise, labels)
    assert torch.equal(generator(noise, labels), expected)
    assert not any(parameter.requires_grad for parameter in generator.parameters())


def test_same_seed_same_images_and_a_longer_call_begins_with_a_shorter_one(generator):
    labels = balanced_labels(700, 10)
    many, few, other = (
        generate(generator, labels, 1),
        generate(generator, labels[:501], 1),
        generate(generator, labels, 2),
    )
    assert (many.dtype, many.shape) == (torch.uint8, (700, 1, 28, 28))
    assert torch.equal(many[:500], few[:500])
    assert (many[500:501].int() - few[500:].int()).abs().max() <= 1  # another batch size, so perhaps another last bit
    assert not torch.equal(many, other)


@pytest.mark.parametrize("num", [3, 500, 1234])
def test_all_cores_make_the_images_of_one_and_find_out_what_is_not_finite(generator, monkeypatch, num):
    labels = balanced_labels(num, 10)
    monkeypatch.setattr(threads, "available_cores", lambda: 3 * torch.get_num_threads())
    monkeypatch.setattr(generation, "_BATCHES_AT_ONCE", 2)  # more than once
    assert torch.equal(generate_on_all_cores(generator, labels, 1), generate(generator, labels, 1))
    for parameter in generator.parameters():
        parameter.fill_(float("nan"))
    with pytest.raises(DivergenceError):
        generate_on_all_cores(generator, labels, 1)


def test_images_follow_their_labels_whatever_the_batch(generator):
    noise_of = {}
    for labels in (torch.tensor([4, 4]), torch.tensor([4, 5])):
        noise_of[tuple(labels.tolist())] = generate(generator, labels, 0)
    assert torch.equal(noise_of[4, 4][0], noise_of[4, 5][0])
    assert not torch.equal(noise_of[4, 4][1], noise_of[4, 5][1])


def test_balanced_labels_run_through_the_classes():
    assert balanced_labels(7, 3).tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_tiles_lie_row_by_row_with_white_between():
    images = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 1, 2, 2).contiguous()
    picture = tile(images, columns=3, padding=1)
    assert picture.shape == (2 * 3 + 1, 3 * 3 + 1)
    assert picture[1:3, 4:6].tolist() == [[1, 1], [1, 1]]
    assert picture[4:6, 1:3].tolist() == [[3, 3], [3, 3]]
    assert picture[4:6, 7:9].tolist() == [[255, 255], [255, 255]]
    assert (picture[0] == 255).all()


def test_colour_tiles_keep_their_channels():
    image = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    image[0, 1] = 9
    picture = tile(image, columns=1, padding=0)
    assert picture.tolist() == [[[0, 9, 0]] * 2] * 2


def mixture_of(shares, *, seeds=(3, 4, 5)):
    weights = {"mixture.shares": torch.tensor(shares, dtype=torch.float64)}
    for number, seed in zip((-1, 2, 10), seeds, strict=True):  # as numbers, not as text
        state = MODEL.build(SPEC, seed=seed).state_dict()
        weights |= {f"mixture.{number}.{k}": v for k, v in state.items() if k.startswith("generator.")}
    return load_sampler(MODEL, SPEC, dict(sorted(weights.items())))


def test_each_sample_of_a_mixture_is_made_by_one_of_its_generators_whatever_the_batch():
    mixture = mixture_of([[1.0] * 10, [2.0] * 10, [1.0] * 10])
    singles = [MODEL.build(SPEC, seed=seed).eval()["generator"] for seed in (3, 4, 5)]
    noise, labels = torch.randn(40, 4), torch.arange(40) % 10
    chosen = mixture.choose(noise, labels)
    assert set(chosen.tolist()) == {0, 1, 2}
    images = mixture(noise, labels)
    for row, index in enumerate(chosen.tolist()):
        alone = noise[row : row + 1], labels[row : row + 1]
        assert mixture.choose(*alone).item() == index
        torch.testing.assert_close(images[row : row + 1], singles[index](*alone))
    assert not any(parameter.requires_grad for parameter in mixture.parameters())


def test_a_mixture_takes_each_generator_as_often_as_its_share_of_the_label_says():
    shares = [[1.0, 0, 7] + [0] * 7, [3.0, 5, 1] + [0] * 7, [0.0, 5, 0] + [0] * 7]
    mixture = mixture_of(shares)
    noise = torch.randn(8000, 4, generator=torch.Generator().manual_seed(0))
    for label, expected in (
        (0, [0.25, 0.75, 0]),
        (1, [0, 0.5, 0.5]),
        (2, [0.875, 0.125, 0]),
        (3, [8 / 22, 9 / 22, 5 / 22]),
    ):
        found = torch.bincount(mixture.choose(noise, torch.full((8000,), label)), minlength=3) / 8000
        assert found.tolist() == pytest.approx(expected, abs=0.02)
        assert [share == 0 for share in expected] == [share == 0 for share in found.tolist()]


def test_the_choice_does_not_lean_on_what_the_latents_look_like():
    mixture = mixture_of([[1.0] * 10] * 3)
    noise = torch.randn(20000, 4, generator=torch.Generator().manual_seed(1))
    chosen = mixture.choose(noise, torch.zeros(20000, dtype=torch.int64))
    for index in range(3):
        own = noise[chosen == index]
        assert own.mean(0).abs().max() < 4 / len(own) ** 0.5
        assert (own.square().mean(0) - 1).abs().max() < 6 / len(own) ** 0.5


def test_the_same_latents_choose_the_same_generators_everywhere():
    mixture = mixture_of([[1.0] * 10] * 3)
    noise = torch.linspace(-2, 2, 32).view(8, 4)
    assert mixture.choose(noise, torch.zeros(8, dtype=torch.int64)).tolist() == [2, 0, 1, 2, 0, 1, 0, 2]


def test_a_mixture_without_any_share_takes_all_alike():
    mixture = mixture_of([[0.0] * 10] * 3)
    chosen = mixture.choose(torch.randn(3000, 4), torch.zeros(3000, dtype=torch.int64))
    assert torch.bincount(chosen).min() > 800


def test_a_generator_without_a_share_is_not_even_chosen_at_the_very_edge():
    mixture = mixture_of([[0.0] * 10, [1.0] * 10, [0.0] * 10])
    assert mixture.choose(torch.zeros(1, 4), torch.tensor([0])).item() == 1  # the bits of zeros hash to zero


def test_the_greatest_hash_there_is_chooses_the_last_generator_that_has_a_share():
    mixture = mixture_of([[1.0] * 10, [1.0] * 10, [0.0] * 10])
    prime = 2**31 - 1
    bits = torch.ones(1).view(torch.int32).item()
    mixture.powers.copy_(torch.tensor([pow(bits, -1, prime) * (prime - 1) % prime, 0, 0, 0]))  # 1.0 hashes to prime - 1
    noise, labels = torch.eye(4)[:1], torch.tensor([0])
    assert mixture.choose(noise, labels).item() == 1
    assert len(mixture(noise, labels)) == 1


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10, 64])
def test_latents_of_fewer_images_are_the_first_of_those_of_more(size):
    many = draw_noise(1500, (size,), 3)
    whole = [torch.randn(500, size, generator=source) for source in [torch_generator(3, "latents")] for _ in range(3)]
    assert torch.equal(many, torch.cat(whole))
    for num in (1, 2, 15, 16, 17, 64, 479, 480, 481, 496, 499, 500, 501, 517, 979, 981, 1001):
        assert torch.equal(draw_noise(num, (size,), 3), many[:num])
