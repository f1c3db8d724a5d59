"""One site's images in a NumPy archive."""

import gzip
import io
import os
import pickle
import zipfile

import numpy as np
import pytest

from common.components import parse
from common.datasets import DATASETS, archives
from common.datasets.base import stratified_split
from common.errors import ConfigError, DataError

GREY = np.random.default_rng(0).integers(0, 256, (20, 6, 6), np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (20, 3, 6, 6), np.uint8)
LABELS = np.arange(20) % 4


def load(tmp_path, arrays, options="", **arguments):
    path = tmp_path / "site.npz"
    np.savez(path, *(arrays if isinstance(arrays, list) else ()), **(arrays if isinstance(arrays, dict) else {}))
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
    assert dataset.spec.num_classes == 6


def test_without_labels_there_is_one_class(tmp_path):
    dataset = load(tmp_path, {"images": GREY, "patient_ids": np.arange(20)})
    assert (dataset.labelled, dataset.class_names) == (False, ("all",))


def test_number_of_classes_can_be_set_for_a_site_that_lacks_some(tmp_path):
    assert load(tmp_path, {"images": GREY, "labels": LABELS}, "num-classes=10").spec.num_classes == 10
    with pytest.raises(DataError, match=r"\[0, 3\], not in \[0, 1\]"):
        load(tmp_path, {"images": GREY, "labels": LABELS}, "num-classes=2")


def test_images_are_resized_on_demand(tmp_path):
    with pytest.raises(DataError, match=r"6 x 4 .*data\.image-size"):
        load(tmp_path, {"images": GREY[:, :, :4]})
    assert load(tmp_path, {"images": GREY[:, :, :4]}, image_size=8).spec.size == 8


@pytest.mark.parametrize(
    ("arrays", "num_train", "num_test"),
    [
        ({"x_train": GREY, "y_train": LABELS, "x_test": GREY[:8], "y_test": LABELS[:8]}, 20, 8),
        ({"X_train": GREY, "Y_train": LABELS, "X_test": GREY[:8], "Y_test": LABELS[:8]}, 20, 8),
        ({"xtrain": GREY, "ytrain": LABELS, "xtest": GREY[:8], "ytest": LABELS[:8]}, 20, 8),
        ({"train_x": GREY, "train_y": LABELS, "valid_x": GREY[:8], "valid_y": LABELS[:8]}, 20, 8),
        ({"trainImages": GREY, "trainLabels": LABELS, "testImages": GREY[:8], "testLabels": LABELS[:8]}, 20, 8),
        ({"training_data": GREY, "training_target": LABELS}, 16, 4),
        ({"data": GREY, "labels": LABELS}, 16, 4),
        ({"X": GREY, "y": LABELS}, 16, 4),
        ([GREY, LABELS], 16, 4),
        ([LABELS, GREY], 16, 4),
        ([GREY, LABELS, GREY[:8], LABELS[:8]], 20, 8),
        ([GREY, GREY[:8], LABELS, LABELS[:8]], 20, 8),
        (
            {"images": GREY, "labels": LABELS, "x": np.zeros((20, 9)), "class_names": np.array(["a", "b", "c", "d"])},
            16,
            4,
        ),
    ],
)
def test_the_names_that_people_use_are_known_and_said(tmp_path, arrays, num_train, num_test):
    dataset = load(tmp_path, arrays)
    assert (len(dataset.train), len(dataset.test), dataset.spec.num_classes) == (num_train, num_test, 4)
    expected = LABELS if num_test == 8 else LABELS[stratified_split(LABELS, 0.2)[0]]
    assert dataset.train.labels.tolist() == expected.tolist()
    assert any("read as train images: " in words or "left out" in words for words in dataset.remarks)


def test_validation_images_beside_test_images_are_left_out_and_said(tmp_path):
    parts = {f"{part}_images": GREY[:n] for part, n in (("train", 20), ("val", 7), ("test", 5))}
    labels = {f"{part}_labels": LABELS[:n, None] for part, n in (("train", 20), ("val", 7), ("test", 5))}
    dataset = load(tmp_path, parts | labels)  # as MedMNIST has them
    assert (len(dataset.train), len(dataset.test)) == (20, 5)
    assert any("validation images were left out" in words for words in dataset.remarks)


def test_what_is_neither_images_nor_labels_is_left_out_unread_and_said(tmp_path):
    extra = {"ids": np.arange(20), "names": np.array([{"a": 1}] * 20, dtype=object)}
    dataset = load(tmp_path, {"images": GREY, "labels": LABELS} | extra)
    (words,) = dataset.remarks
    for expected in ("left out", "ids (20,)", "names (20,) Python objects"):
        assert expected in words


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (LABELS[:, None], "0123"),
        (LABELS[None], "0123"),
        (LABELS.astype(float), "0123"),
        (LABELS.astype(">u2"), "0123"),
        (np.eye(4)[LABELS], "0123"),
        (np.eye(6, dtype=bool)[LABELS], "012345"),
        (np.array(["a", "b", "c", "d"])[LABELS], "abcd"),
        (np.array([b"a", b"b", b"c", b"d"])[LABELS], "abcd"),
    ],
)
def test_labels_of_other_forms_are_read_where_they_are_clear(tmp_path, labels, names):
    dataset = load(
        tmp_path,
        {
            "images": GREY,
            "labels": labels,
            "test_images": GREY[:4],
            "test_labels": labels[..., :4] if labels.shape[0] == 1 else labels[:4],
        },
    )
    assert dataset.train.labels.tolist() == LABELS.tolist()
    assert dataset.class_names == tuple(names)


@pytest.mark.parametrize(
    ("images", "options", "words"),
    [
        (GREY.astype(np.int64), "", "int64"),
        (GREY.astype(np.uint16), "", "uint16"),
        (GREY / 255, "range=0,1", "scaled from"),
        (GREY / 127.5 - 1, "range=-1,1", "scaled from"),
        ((GREY / 255).astype(np.float16), "range=0,1", "scaled from"),
        (GREY.astype(np.float32), "range=0,255", "scaled from"),
        (GREY.astype(np.uint16) * 257, "range=0,65535", "scaled from"),
        (np.where(GREY > 127, GREY, 128) * 2.0, "range=256,510", "scaled from"),
    ],
)
def test_images_that_are_no_bytes_are_read_where_that_is_clear_or_declared(tmp_path, images, options, words):
    dataset = load(tmp_path, {"images": images, "test_images": images}, options)
    found = dataset.train.images[:, 0].numpy()
    expected = ((GREY.clip(128) - 128.0) * 255 / 127).round() if "256" in options else GREY
    assert np.array_equal(found, expected)
    assert any(words in sentence for sentence in dataset.remarks)


def test_values_outside_the_declared_range_are_cut_off_and_counted(tmp_path):
    dataset = load(tmp_path, {"images": GREY.astype(float), "test_images": GREY}, "range=0,127")
    assert dataset.train.images.max() == 255
    assert any("of the values of images" in words and "range=0,127" in words for words in dataset.remarks)


def test_masks_become_black_and_white(tmp_path):
    assert set(load(tmp_path, {"images": GREY > 99}).train.images.unique().tolist()) == {0, 255}


@pytest.mark.parametrize("text", ["0", "1,0", "0,1,2", "a,b", "0,inf"])
def test_a_range_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match=r"range=.*LOW,HIGH"):
        parse("data.name", DATASETS, f"npz range={text}")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (GREY / 255, r"\[0(\.\d+)?, 1\].*npz range=0,1\""),
        (GREY / 127.5 - 1, r"npz range=-1,1\""),
        (GREY.astype(np.float32), r"npz range=0,255\""),
        (GREY.astype(np.uint16) * 16, r"\[0, 4080\].*npz range=0,4095\""),
        (GREY.astype(np.int16) - 128, r"npz range=-128,127\""),
        ((GREY > 99).astype(np.uint8), r"npz range=0,1\""),
        (np.where(GREY > 250, np.nan, GREY), r"NaN or infinity in \d+ of 20 images"),
        (GREY.astype(complex), "complex128"),
        (GREY[:0], "no images"),
        (GREY[:1], "at least 2"),
        (GREY.reshape(20, 36), r"reshape\(-1, 6, 6\)"),
        (np.zeros((9, 192), np.uint8), r"reshape\(-1, 3, 8, 8\)"),
        (np.zeros((9, 8, 8, 4), np.uint8), "transparency"),
        (np.zeros((9, 8, 8, 8, 1), np.uint8), "expected"),
    ],
)
def test_images_that_could_mean_several_things_are_refused_with_the_way_out(tmp_path, images, message):
    with pytest.raises(DataError, match=rf"site\.npz.*{message}"):
        load(tmp_path, {"images": images})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([10**10], "10,000,000,001 classes"),
        ([-(10**10)], "negative"),
        ([-1, -1], "the 2 images with a negative label"),
        ([255], r"5 distinct ones.*256 classes.*num-classes=256"),
        (np.full(20, 2**64 - 1, np.uint64), "ids"),
        (np.full(20, np.nan), "not whole"),
        (LABELS / 2, "0.5"),
        (np.ones((20, 4)), "one-hot"),
        (np.array([{}] * 20), "Python objects"),
        (np.array(["", "cat"])[LABELS % 2], "'' is no name of a class"),
        (np.array(["a\nb", "cat"])[LABELS % 2], "is no name of a class"),
        (np.array(["2020-01-01"] * 20, "M8[D]"), "datetime64"),
        (np.zeros((20, 6, 6), int), r"labels is \(20, 6, 6\)"),
    ],
)
def test_labels_that_are_ids_or_marks_are_refused_before_they_cost_memory(tmp_path, labels, message):
    if isinstance(labels, list):
        labels = np.concatenate([labels, LABELS[len(labels) :]])
    with pytest.raises(DataError, match=rf"site\.npz.*{message}"):
        load(tmp_path, {"images": GREY, "labels": labels})


@pytest.mark.parametrize("labels", [np.arange(120), np.array([f"picture-{k}" for k in range(120)])])
def test_as_many_labels_as_images_are_ids_unless_they_are_declared(tmp_path, labels):
    images = np.repeat(GREY, 6, axis=0)
    with pytest.raises(DataError, match="120 distinct labels for 120 images.*num-classes"):
        load(tmp_path, {"images": images, "labels": labels})
    assert load(tmp_path, {"images": images, "labels": labels}, "num-classes=120").spec.num_classes == 120


def test_an_absurd_number_of_classes_is_refused_in_the_configuration():
    with pytest.raises(ConfigError, match="num-classes.*1000000000.*100000"):
        parse("data.name", DATASETS, "npz num-classes=1000000000")


def test_a_class_without_training_images_is_said(tmp_path):
    dataset = load(tmp_path, {"images": GREY, "labels": LABELS + 1})
    assert dataset.held == (1, 2, 3, 4)
    assert "class 0 has no training images, and is never generated" in dataset.remarks


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"weights": GREY}, r"holds weights \(20, 6, 6\) uint8; expected images"),
        ({"x": GREY, "images": GREY}, "x and images may both be the train images"),
        ({"images": GREY, "labels": LABELS, "y": LABELS}, "labels and y may both be"),
        ([GREY, GREY], "expected images"),
        ({"images": GREY, "kind": LABELS}, "kind may be the labels: call what they are 'labels', or leave it out"),
        ({"test_images": GREY, "test_labels": LABELS}, "expected images"),
        ({"images": GREY, "labels": LABELS, "test_labels": LABELS}, "no images to test_labels"),
        ({"images": GREY, "labels": LABELS, "test_images": GREY}, "both training and test images, or of neither"),
        ({"x_train": GREY, "x_test": GREY[:, :5, :5]}, "data.image-size"),
        ({"images": GREY[0]}, r"images is \(6, 6\)"),
        ({"images": np.uint8(3)}, r"images is \(\)"),
        ({"images": GREY.reshape(20, 2, 3, 6)}, r"\(20, 2, 3, 6\)"),
        ({"images": COLOUR.transpose(2, 3, 1, 0), "labels": LABELS}, r"transpose\(3, 0, 1, 2\)"),
        ({"images": GREY, "labels": LABELS[:-1]}, r"labels is \(19,\)"),
        ({"images": np.array([GREY[0], GREY[1, :5]], dtype=object)}, "Python objects"),
        ({"images": np.zeros(20, dtype=[("é", "u1")])}, r"images is "),
    ],
)
def test_other_content_is_refused_with_what_was_found(tmp_path, arrays, message):
    with pytest.raises(DataError, match=rf"site\.npz.*{message}"):
        load(tmp_path, arrays)


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def zipped(**files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def claiming(shape):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return zipped(**{"images.npy": file.getvalue() + b"few"})


WHOLE = zipped(**{"images.npy": npy(GREY), "labels.npy": npy(LABELS)})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"hello", "is text"),
        (b"\x07\x00\xfe" * 90, "something else"),
        (b"\n<!DOCTYPE html><html>404", "web page"),
        (b"<?xml version='1.0'?><Error>", "web page"),
        (gzip.compress(WHOLE), "gzip"),
        (pickle.dumps({"images": 1}), "Python pickle"),
        (npy(GREY), "one NumPy array"),
        (b"MATLAB 5.0 MAT-file", "MATLAB"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x89PNG\r\n", "PNG picture.*image-folder"),
        (b"\xff\xd8\xff\xe0", "JPEG picture"),
        (b"PAR1", "Parquet"),
        (b"a" * 257 + b"ustar", "tar archive"),
        (b"\0\0\x08\x03", "IDX.*mnist"),
        (b"\0" * 99, "nothing but zeros"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"PK\x03\x04 torn", "damaged or incomplete"),
        (WHOLE[: len(WHOLE) // 2], "damaged or incomplete"),
        (WHOLE[:400] + b"\xff\xfe" + WHOLE[402:], "images.* is damaged"),
        (zipped(), "empty archive"),
        (zipped(**{"cats/1.png": b"", "dogs/2.PNG": b""}), "zip of pictures.*image-folder.*cats/1.png"),
        (zipped(**{"model/data.pkl": b"", "model/data/0": b""}), "PyTorch"),
        (zipped(**{"a.npz": b""}), "other archives"),
        (zipped(**{"[Content_Types].xml": b""}), "other files"),
        (zipped(**{"images.npy": b"<html>"}), "images.npy in it is damaged"),
        (zipped(**{"images.npy": b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535}), "images.npy in it is damaged"),
        (claiming((10**6, 10**6)), "images.npy in it is damaged"),
        (claiming((10**30, 6, 6)), "images.npy in it is damaged"),
        (claiming((-1, 6, 6)), "images.npy in it is damaged"),
    ],
)
def test_what_is_no_archive_is_named_for_what_it_is(tmp_path, content, words):
    path = tmp_path / "site.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"site\.npz.*{words}") as caught:
        DATASETS["npz"]().load(path)
    assert "allow_pickle" not in str(caught.value)
    assert caught.value.exit_code == 2
    if "is damaged" not in words or "npy" in words:
        assert DATASETS["npz"]().status(path).startswith("unusable")


def test_a_place_without_such_a_file_is_shown_with_what_is_near(tmp_path):
    source = DATASETS["npz"]()
    (tmp_path / "site.npz").write_bytes(WHOLE)
    with pytest.raises(DataError, match=r"no file .*gone\.npz"):
        source.load(tmp_path / "gone.npz")
    with pytest.raises(DataError, match=r"no file .*site; there is .*site\.npz"):
        source.load(tmp_path / "site")
    with pytest.raises(DataError, match=r"is a folder.* in it are site\.npz"):
        source.load(tmp_path)
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(DataError, match="no regular file"):
        source.load(tmp_path / "pipe.npz")


def test_arrays_zipped_by_hand_are_read(tmp_path):
    (tmp_path / "a.npz").write_bytes(
        zipped(
            **{"set/x.npy": npy(GREY), "set/y.npy": npy(LABELS), "__MACOSX/set/._x.npy": b"?", "set/.DS_Store": b"?"}
        )
    )
    (tmp_path / "b.npz").write_bytes(zipped(**{"train/images.npy": npy(GREY), "test/images.npy": npy(GREY[:3])}))
    assert DATASETS["npz"]().load(tmp_path / "a.npz").spec.num_classes == 4
    assert len(DATASETS["npz"]().load(tmp_path / "b.npz").test) == 3


def test_more_than_fits_into_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "free_memory", lambda: 2000)
    monkeypatch.setattr(archives.Archive, "read", lambda *_: pytest.fail("it was read"))
    with pytest.raises(DataError, match=r"site\.npz: takes .* GB of memory"):
        load(tmp_path, {"images": GREY})


def test_status_reports_the_arrays_and_claims_no_more_than_was_looked_at(tmp_path):
    load(tmp_path, {"images": GREY, "labels": LABELS})
    source = DATASETS["npz"]()
    reported = source.status(tmp_path / "site.npz")
    assert reported.startswith("there, not checked: ")
    assert "images (20, 6, 6) uint8, labels (20,) int64" in reported
    assert source.status(tmp_path / "gone.npz").startswith("missing")
    assert source.status(tmp_path).startswith("missing")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_single_picture_is_no_data_set_of_its_rows(tmp_path, channels):
    np.savez(tmp_path / "one.npz", images=np.zeros((32, 32, channels), np.uint8))
    with pytest.raises(DataError, match="one image of 32 x 32 pixels, it seems"):
        parse("data.name", DATASETS, "npz").load(tmp_path / "one.npz", image_size=28)
