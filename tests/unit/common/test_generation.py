import pytest
import torch

from common.datasets.base import ImageShape
from common.generation import balanced_labels, generate, load_generator, tile
from common.models import MODELS

SHAPE = ImageShape(1, 28, 10)
MODEL = MODELS["mlp"](width=16, latent_size=4)
WEIGHTS = MODEL.build(SHAPE, seed=3).state_dict()


@pytest.fixture
def generator():
    return load_generator(MODEL, SHAPE, WEIGHTS)


def test_the_loaded_generator_is_that_of_the_weights(generator):
    latents, labels = torch.randn(3, 4), torch.arange(3)
    expected = MODEL.build(SHAPE, seed=3).eval()["generator"](latents, labels)
    assert torch.equal(generator(latents, labels), expected)
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


def test_images_follow_their_labels_whatever_the_batch(generator):
    latents_of = {}
    for labels in (torch.tensor([4, 4]), torch.tensor([4, 5])):
        latents_of[tuple(labels.tolist())] = generate(generator, labels, 0)
    assert torch.equal(latents_of[4, 4][0], latents_of[4, 5][0])
    assert not torch.equal(latents_of[4, 4][1], latents_of[4, 5][1])


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
