"""One site's images in a NumPy archive."""

import numpy as np
import pytest

from common.components import parse
from common.datasets import DATASETS
from common.errors import DataError

GREY = np.random.default_rng(0).integers(0, 256, (20, 6, 6), np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (20, 3, 6, 6), np.uint8)
LABELS = np.arange(20) % 4


def load(tmp_path, arrays, options="", **arguments):
    path = tmp_path / "site.npz"
    np.savez(path, **arrays)
    return parse("data.name", DATASETS, f"npz {options}").load(path, **arguments)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (GREY, GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (GREY[:, None], GREY[:, None]),
        (COLOUR, COLOUR),
        (COLOUR.transpose(0, 2, 3, 1), COLOUR),
    ],
    ids=["NHW", "NHW1", "N1HW", "N3HW", "NHW3"],
)
def test_every_layout_reads_as_channels_first(tmp_path, images, expected):
    dataset = load(tmp_path, {"images": images, "test_images": images})
    assert np.array_equal(dataset.train.images.numpy(), expected)
    assert np.array_equal(dataset.test.images.numpy(), expected)


def test_without_test_images_a_share_of_each_class_is_held_out(tmp_path):
    dataset = load(tmp_path, {"images": GREY, "labels": LABELS.astype(np.uint8)}, "held-out=0.4")
    assert dataset.test.label_counts(4) == [2, 2, 2, 2]
    assert dataset.train.label_counts(4) == [3, 3, 3, 3]
    assert dataset.class_names == ("0", "1", "2", "3")
    assert dataset.labelled


def test_test_arrays_are_the_split(tmp_path):
    arrays = {"images": GREY, "labels": LABELS, "test_images": GREY[:3], "test_labels": np.array([0, 5, 1])}
    dataset = load(tmp_path, arrays)
    assert dataset.train.labels.tolist() == LABELS.tolist()
    assert dataset.test.labels.tolist() == [0, 5, 1]
    assert dataset.shape.num_classes == 6


def test_without_labels_there_is_one_class(tmp_path):
    dataset = load(tmp_path, {"images": GREY})
    assert (dataset.labelled, dataset.class_names) == (False, ("all",))


def test_number_of_classes_can_be_set_for_a_site_that_lacks_some(tmp_path):
    assert load(tmp_path, {"images": GREY, "labels": LABELS}, "num-classes=10").shape.num_classes == 10
    with pytest.raises(DataError, match=r"\[0, 3\], not in \[0, 1\]"):
        load(tmp_path, {"images": GREY, "labels": LABELS}, "num-classes=2")


def test_images_are_resized_on_demand(tmp_path):
    with pytest.raises(DataError, match=r"6 x 4 .*data\.image-size"):
        load(tmp_path, {"images": GREY[:, :, :4]})
    assert load(tmp_path, {"images": GREY[:, :, :4]}, image_size=8).shape.size == 8


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": GREY}, r"holds x \(20, 6, 6\) uint8; expected images"),
        ({"images": GREY, "label": LABELS}, "holds .*label "),
        ({"images": GREY, "labels": LABELS, "test_labels": LABELS}, "test_labels"),
        ({"images": GREY, "labels": LABELS, "test_images": GREY}, "both labels and test_labels"),
        ({"images": GREY / 255}, "float64; expected uint8"),
        ({"images": GREY[0]}, r"images is \(6, 6\)"),
        ({"images": np.uint8(3)}, r"images is \(\)"),
        ({"images": GREY.reshape(20, 2, 3, 6)}, r"\(20, 2, 3, 6\)"),
        ({"images": GREY, "labels": LABELS[:-1]}, r"labels is \(19,\)"),
        ({"images": GREY, "labels": LABELS / 2}, "float64; expected integers"),
        ({"images": GREY, "labels": LABELS - 1}, r"\[-1, 2\]"),
        ({"images": np.array([None, "x"], dtype=object)}, "without pickles"),
    ],
)
def test_other_content_is_refused_with_what_was_found(tmp_path, arrays, message):
    with pytest.raises(DataError, match=rf"site\.npz.*{message}"):
        load(tmp_path, arrays)


def test_file_that_is_missing_or_no_archive_is_named(tmp_path):
    source = DATASETS["npz"]()
    with pytest.raises(DataError, match=r"no file .*gone\.npz"):
        source.load(tmp_path / "gone.npz")
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 torn")
    np.save(tmp_path / "one.npy", GREY)
    for name in ("text.npz", "torn.npz", "one.npy"):
        with pytest.raises(DataError, match=name):
            source.load(tmp_path / name)
        assert source.status(tmp_path / name).startswith("unreadable")


def test_status_tells_the_arrays(tmp_path):
    load(tmp_path, {"images": GREY, "labels": LABELS})
    source = DATASETS["npz"]()
    assert "images, labels" in source.status(tmp_path / "site.npz")
    assert source.status(tmp_path / "gone.npz").startswith("missing")
