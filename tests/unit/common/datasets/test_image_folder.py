"""Folders of image files."""

import numpy as np
import pytest
from PIL import Image

from common.components import parse
from common.datasets import DATASETS, UNLABELLED
from common.errors import ConfigError, DataError


def write(folder, *values, size=(6, 6), mode="RGB", suffix="png"):
    """Writes one flat image a value, (width, height) = size."""
    folder.mkdir(parents=True, exist_ok=True)
    for value in values:
        colour = value if mode != "RGB" else (value, 0, 255 - value)
        Image.new(mode, size, colour).save(folder / f"{value:03}.{suffix}")


def source(options=""):
    return parse("data.name", DATASETS, f"image-folder {options}")


def test_class_folders_give_labels_and_colours(tmp_path):
    write(tmp_path / "cat", *range(10))
    write(tmp_path / "dog" / "deep", *range(100, 110))
    write(tmp_path / ".hidden", 1)
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    dataset = source().load(tmp_path)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.train.label_counts(2) == [8, 8]
    assert dataset.test.label_counts(2) == [2, 2]
    assert dataset.test.images[:, :, 3, 3].tolist() == [[v, 0, 255 - v] for v in (4, 9, 104, 109)]
    assert dataset.labelled


def test_held_out_share_is_an_option_within_0_and_1(tmp_path):
    write(tmp_path / "cat", *range(10))
    assert len(source("held-out=0.5").load(tmp_path).test) == 5
    for share in ("0", "1", "nan"):
        with pytest.raises(ConfigError, match="held-out"):
            source(f"held-out={share}")


def test_train_and_test_folders_are_the_split(tmp_path):
    write(tmp_path / "train" / "cat", 1, 2, 3)
    write(tmp_path / "train" / "dog", 4)
    write(tmp_path / "test" / "dog", 5)
    dataset = source("grey=true").load(tmp_path)
    assert (dataset.train.label_counts(2), dataset.test.label_counts(2)) == ([3, 1], [0, 1])
    assert "4 training and 1 test images" in source().status(tmp_path)


@pytest.mark.parametrize("part", ["train", "test"])
def test_half_a_split_is_refused(tmp_path, part):
    write(tmp_path / part / "cat", 1, 2)
    with pytest.raises(DataError, match=f'data.root="{tmp_path / part}"'):
        source().load(tmp_path)


def test_class_only_in_test_is_a_class_and_said(tmp_path):
    write(tmp_path / "train" / "cat", 1)
    write(tmp_path / "test" / "cow", 5)
    dataset = source().load(tmp_path)
    assert dataset.class_names == ("cat", "cow")
    assert "class cow has no training images, and is never generated" in dataset.remarks
    with pytest.raises(DataError, match="test has classes that are not among cat: cow"):
        source("classes=cat").load(tmp_path)


def test_listed_classes_fix_the_labels_on_a_site_that_lacks_some(tmp_path):
    write(tmp_path / "dog", 1, 2)
    dataset = source("classes=cat,dog,eel").load(tmp_path)
    assert dataset.class_names == ("cat", "dog", "eel")
    assert dataset.train.labels.tolist() == [1]
    with pytest.raises(DataError, match="dog"):
        source("classes=cat,eel").load(tmp_path)
    with pytest.raises(DataError, match="twice"):
        source("classes=dog,dog").load(tmp_path)


def test_folder_without_classes_is_unlabelled(tmp_path):
    write(tmp_path, 1, 2, 3)
    dataset = source().load(tmp_path)
    assert dataset.class_names == UNLABELLED
    assert not dataset.labelled
    assert not dataset.train.labels.any()


def test_grey_gives_one_channel(tmp_path):
    write(tmp_path / "a", 10, 20, mode="L")
    write(tmp_path / "b", 30, 40, mode="L", suffix="bmp")
    assert source().load(tmp_path).spec.channels == 3
    dataset = source("grey=true held-out=0.5").load(tmp_path)
    assert dataset.spec.channels == 1
    assert dataset.train.images[:, 0, 0, 0].tolist() == [10, 30]


def test_images_of_different_size_need_image_size(tmp_path):
    write(tmp_path / "a", 1, 2, size=(6, 6))
    write(tmp_path / "b", 3, 4, size=(12, 9))
    with pytest.raises(DataError, match=r"9 x 12 .*data\.image-size"):
        source().load(tmp_path)
    write(tmp_path / "b", 3, 4, size=(8, 8))
    with pytest.raises(DataError, match=r"\(8, 8\).*data\.image-size"):
        source().load(tmp_path)
    assert source().load(tmp_path, image_size=5).spec.size == 5


def test_oblong_images_are_cropped_to_their_centre(tmp_path):
    pixels = np.zeros((4, 8), np.uint8)
    pixels[:, 2:6] = 200
    (tmp_path / "a").mkdir()
    for name in ("1.png", "2.png"):
        Image.fromarray(pixels).save(tmp_path / "a" / name)
    assert (source("grey=true").load(tmp_path, image_size=4).train.images == 200).all()


@pytest.mark.parametrize("keep", [0, 20, 60])
def test_damaged_file_is_refused_by_name(tmp_path, keep):
    write(tmp_path / "a", 1, 2, size=(64, 64))
    path = tmp_path / "a" / "002.png"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"002\.png"):
        source().load(tmp_path)


def test_file_damaged_in_the_middle_is_refused_by_name(tmp_path):
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "1.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)).save(path)
    head, *rest = path.read_bytes().split(b"IDAT")  # several chunks
    path.write_bytes(head + b"IDAT" + b"\x00\x00\x00\x00".join(rest))
    with pytest.raises(DataError, match=r"1\.png"):
        source().load(tmp_path)


def test_16_bit_image_is_refused(tmp_path):
    write(tmp_path / "a", 1, 2)
    Image.fromarray(np.full((6, 6), 40_000, np.uint16)).save(tmp_path / "a" / "deep.png")
    with pytest.raises(DataError, match=r"deep.png.*8 bits"):
        source().load(tmp_path)


def test_missing_or_empty_folder_is_named(tmp_path):
    for place in (tmp_path, tmp_path / "gone"):
        with pytest.raises(DataError, match=str(place)):
            source().load(place)
        assert source().status(place).startswith("missing")
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match="no image files"):
        source().load(tmp_path)
