"""Stacked MNIST: what stands in each channel, whose label counts, and that no digit is on both sides."""

import numpy as np
import pytest
import torch

from common.datasets import DATASETS
from common.datasets.stacked_mnist import StackedMnist
from common.errors import ConfigError

FILES = {"train": 12, "t10k": 4}


@pytest.fixture(scope="module")
def digits():
    return DATASETS["mnist-10k"]().load(None)


@pytest.fixture(scope="module")
def stacked():
    return StackedMnist().load(None)


def written(folder):
    """Writes IDX files of 12 and 4 images, all different, and returns the pixels by part."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    made = {}
    for part, num in FILES.items():
        pixels = np.random.default_rng(num).integers(0, 256, (num, 28, 28), dtype=np.uint8)
        sizes = b"".join(size.to_bytes(4, "big") for size in pixels.shape)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + sizes + pixels.tobytes())
        labels = (np.arange(num) % 10).astype(np.uint8)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + num.to_bytes(4, "big") + labels.tobytes())
        made[part] = torch.from_numpy(pixels)
    return made


def channel(images, number):
    return [image.numpy().tobytes() for image in images[:, number]]


def test_the_first_channel_is_every_digit_in_order_and_has_the_label(digits, stacked):
    for part, whole in ((stacked.train, digits.train), (stacked.test, digits.test)):
        assert torch.equal(part.images[:, :1], whole.images)
        assert torch.equal(part.labels, whole.labels)
    assert stacked.spec == stacked.train.spec(10)
    assert (stacked.spec.channels, stacked.spec.size, stacked.class_names) == (3, 28, digits.class_names)


def test_the_other_channels_are_the_same_digits_in_two_other_orders(digits, stacked):
    own = channel(digits.test.images, 0)
    second, third = (channel(stacked.test.images, k) for k in (1, 2))
    assert sorted(own) == sorted(second) == sorted(third)
    for one, other in ((own, second), (own, third), (second, third)):
        assert sum(a == b for a, b in zip(one, other, strict=True)) < 10  # about one of 2,000 stays by chance


def test_no_digit_is_trained_on_and_held_out(stacked):
    held_out = {digit for k in range(3) for digit in channel(stacked.test.images, k)}
    assert not any(digit in held_out for k in range(3) for digit in channel(stacked.train.images, k))


def test_the_pictures_are_the_same_in_every_run(stacked):
    assert torch.equal(StackedMnist().load(None).train.images, stacked.train.images)
    assert (stacked.train.digest(), stacked.test.digest()) == ("a16a65e08f46c2e7", "46978b08224c4b75")


def test_the_digits_may_be_those_of_the_whole_of_mnist_and_stand_in_several_pictures(tmp_path):
    pixels = written(tmp_path)
    dataset = StackedMnist(of="mnist", copies=3).load(tmp_path, download=False)
    assert (len(dataset.train), len(dataset.test)) == (36, 12)
    for part, images in ((dataset.train, pixels["train"]), (dataset.test, pixels["t10k"])):
        for k in range(3):
            assert sorted(channel(part.images, k)) == sorted(channel(images[:, None], 0) * 3)
    first, second = dataset.train.images[:12], dataset.train.images[12:24]
    assert torch.equal(first[:, 0], second[:, 0])
    assert not torch.equal(first[:, 1], second[:, 1])
    assert dataset.train.labels.tolist() == [k % 10 for k in range(12)] * 3


def test_says_where_its_digits_are(tmp_path):
    assert StackedMnist().status(None).startswith("of mnist-10k, ready: embedded")
    assert "of mnist, missing in" in StackedMnist(of="mnist").status(tmp_path)
    with pytest.raises(ConfigError, match=r"data 'mnist' needs data.root"):
        StackedMnist(of="mnist").load(None)
