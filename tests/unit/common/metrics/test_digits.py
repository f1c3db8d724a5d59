"""Whether images are digits, as far as their labels tell."""

import pytest
import torch

from common.config import RunConfig
from common.metrics import share_read

NUMERALS = tuple("0123456789")


@pytest.fixture(scope="module")
def digits():
    test = RunConfig().source.load(None).test
    return test.images[::5].clone(), test.labels[::5].clone()


@pytest.mark.parametrize(
    ("names", "few"),
    [
        (NUMERALS, None),
        (("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"), None),
        (("3", "7"), (3, 7)),
    ],
)
def test_digits_are_read_right_whatever_their_classes_are_called(digits, names, few):
    images, labels = digits
    if few:
        kept = (labels == few[0]) | (labels == few[1])
        images, labels = images[kept], (labels[kept] == few[1]).long()
    assert share_read(images, labels, names) > 0.95


def test_what_is_no_digit_is_not_read_right(digits):
    images, labels = digits
    noise = torch.randint(0, 256, images.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for others in (noise, images.flip(2).transpose(2, 3), 255 - images, torch.full_like(images, 7)):
        assert share_read(others, labels, NUMERALS) < 0.8
        assert share_read(others, labels, tuple("abcdefghij")) < 0.8


def test_what_nobody_can_tell_is_not_reported(digits):
    images, labels = digits
    assert share_read(images, torch.zeros_like(labels), ("all",)) is None
    assert share_read(images, labels % 3, ("cat", "dog", "rat")) is None


def test_one_image_is_enough_to_look_at(digits):
    images, labels = digits
    assert share_read(images[:1], labels[:1], NUMERALS) in (0.0, 1.0)
