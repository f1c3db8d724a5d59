"""The embedded images: what is in them, that damage is seen, and that they can be made again."""

import json

import numpy as np
import pytest
import torch

from common.datasets import DATASETS, mnist_10k
from common.datasets.mnist_10k import EMBEDDED, read_embedded
from common.errors import DataError
from simulations.tools.embed_mnist import embed, main

COUNTS = [3, 2, 2, 2, 2, 2, 2, 2, 2, 1]
PIXELS = np.arange(20 * 784, dtype=np.int64).reshape(20, 784).astype(np.uint8)


@pytest.fixture(scope="module")
def embedded():
    return DATASETS["mnist-10k"]().load(None)


def test_split_is_8000_and_2000_with_a_fifth_of_every_digit_held_out(embedded):
    assert (len(embedded.train), len(embedded.test)) == (8000, 2000)
    train, test = (np.array(part.label_counts(10)) for part in (embedded.train, embedded.test))
    assert (train + test).tolist() == [1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978]
    assert (np.abs(test - (train + test) / 5) <= 1).all()
    assert embedded.spec.size == 28
    assert embedded.labelled


def test_images_are_mnist(embedded):
    # Mean and standard deviation of MNIST's training pixels: 0.1307 and 0.3081.
    pixels = embedded.train.images.float() / 255
    assert pixels.mean().item() == pytest.approx(0.1307, abs=0.002)
    assert pixels.std().item() == pytest.approx(0.3081, abs=0.002)
    first_zero, first_one = embedded.train.images[0, 0], embedded.train.images[801, 0]
    assert first_zero[14, 14] == 0  # the hole of a zero
    assert first_one.float().mean() < first_zero.float().mean()


def test_no_held_out_image_is_trained_on(embedded):
    train = {image.numpy().tobytes() for image in embedded.train.images}
    assert not any(image.numpy().tobytes() in train for image in embedded.test.images)


def test_images_are_resized_on_demand():
    dataset = DATASETS["mnist-10k"]().load(None, image_size=32)
    assert dataset.spec.size == 32
    assert dataset.train.images.dtype == torch.uint8


def test_file_fits_a_flower_bundle():
    assert EMBEDDED.stat().st_size < 2.2e6


def test_embedded_file_reads_back_and_is_the_same_each_time(tmp_path):
    path = tmp_path / "images.json"
    path.write_text(embed(PIXELS, COUNTS))
    images = read_embedded(path)
    assert np.array_equal(images.images.numpy().reshape(20, 784), PIXELS)
    assert images.label_counts(10) == COUNTS
    assert path.read_text() == embed(PIXELS, COUNTS)


def damage_pixels(record):
    return record | json.loads(embed(PIXELS[::-1], COUNTS)) | {"sha256": record["sha256"]}


def damage_labels(record):
    return record | {"images_per_digit": COUNTS[::-1]}


def damage_text(record):
    return record | {"pixels": [record["pixels"][0][:-40]]}


def damage_keys(record):
    return {"pixels": record["pixels"]}


@pytest.mark.parametrize("damage", [damage_pixels, damage_labels, damage_text, damage_keys])
def test_damaged_file_is_refused_by_name(tmp_path, damage):
    path = tmp_path / "images.json"
    path.write_text(json.dumps(damage(json.loads(embed(PIXELS, COUNTS)))))
    with pytest.raises(DataError, match=r"images\.json.*restore"):
        read_embedded(path)


def test_missing_file_is_reported_by_load_and_status(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist_10k, "EMBEDDED", tmp_path / "gone.json")
    with pytest.raises(DataError, match=r"gone\.json"):
        DATASETS["mnist-10k"]().load(None)
    assert DATASETS["mnist-10k"]().status(None).startswith("missing")


def write_package(folder, version="1.1.0", scale=1 / 255):
    digits = folder / "src" / "digits"
    digits.mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": "mnist", "version": version}))
    for digit, images in enumerate(np.split(PIXELS, np.cumsum(COUNTS)[:-1])):
        data = [round(value * scale, 3) for value in images.flatten().tolist()]
        (digits / f"{digit}.json").write_text(json.dumps({"data": data}))


def test_command_embeds_a_package(tmp_path):
    write_package(tmp_path / "package")
    main([str(tmp_path / "package"), "--out", str(tmp_path / "out.json")])
    assert np.array_equal(read_embedded(tmp_path / "out.json").images.numpy().reshape(20, 784), PIXELS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "2.0.0"}, "mnist 2.0.0"),
        ({"scale": 1 / 300}, "values that are not bytes"),
        ({"scale": 1 / 200}, "not bytes"),
    ],
)
def test_command_refuses_another_package(tmp_path, change, message):
    write_package(tmp_path / "package", **change)
    with pytest.raises(DataError, match=message):
        main([str(tmp_path / "package"), "--out", str(tmp_path / "out.json")])
    assert not (tmp_path / "out.json").exists()
