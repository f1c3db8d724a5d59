"""MNIST and Fashion-MNIST from IDX files: read where torchvision keeps them, fetched, or clearly missing."""

import gzip
import os
import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest

from common.datasets import DATASETS
from common.datasets.torchvision_idx import FILES, read_idx
from common.errors import DataError

FOLDERS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}
GENERATOR = np.random.default_rng(0)
ARRAYS = dict(
    zip(
        FILES,
        (
            GENERATOR.integers(0, 256, (12, 28, 28), np.uint8),
            np.arange(12, dtype=np.uint8) % 10,
            GENERATOR.integers(0, 256, (5, 28, 28), np.uint8),
            np.arange(5, dtype=np.uint8),
        ),
        strict=True,
    )
)


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write(root, name, packed=False):
    raw = Path(root) / FOLDERS[name] / "raw"
    raw.mkdir(parents=True)
    for file, array in ARRAYS.items():
        (raw / (f"{file}.gz" if packed else file)).write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    return raw


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", FOLDERS)
def test_idx_files_read_back_equal(tmp_path, name, packed):
    write(tmp_path, name, packed)
    dataset = DATASETS[name]().load(tmp_path, download=False)
    for part, images, labels in ((dataset.train, *FILES[:2]), (dataset.test, *FILES[2:])):
        assert np.array_equal(part.images[:, 0].numpy(), ARRAYS[images])
        assert np.array_equal(part.labels.numpy(), ARRAYS[labels])
    assert (dataset.spec.channels, dataset.spec.size, dataset.spec.num_classes) == (1, 28, 10)


def test_images_are_resized_on_demand(tmp_path):
    write(tmp_path, "mnist")
    assert DATASETS["mnist"]().load(tmp_path, image_size=32).spec.size == 32


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_root_is_read(tmp_path):
    raw = write(tmp_path, "mnist")
    for folder in (raw, raw.parent, tmp_path):
        folder.chmod(0o500)
    assert len(DATASETS["mnist"]().load(tmp_path).train) == 12


def test_reading_changes_nothing_in_root(tmp_path):
    write(tmp_path, "mnist")
    before = sorted(tmp_path.rglob("*"))
    DATASETS["mnist"]().load(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def assert_clear_error(name, root):
    with pytest.raises(DataError) as caught:
        DATASETS[name]().load(root)
    message = str(caught.value)
    assert caught.value.exit_code == 1  # nothing that the user said is wrong
    for expected in (str(root / FOLDERS[name] / "raw"), *FILES, "no route", "data.root", "data.name=mnist-10k"):
        assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize("error", [URLError("no route"), PermissionError("no route"), RuntimeError("no\nroute")])
@pytest.mark.parametrize("name", FOLDERS)
def test_missing_files_that_cannot_be_fetched_are_one_clear_error(tmp_path, monkeypatch, name, error):
    def fetch(root, *, download):
        raise error

    monkeypatch.setattr(DATASETS[name], "archive", lambda self: fetch)
    assert_clear_error(name, tmp_path)


@pytest.mark.slow  # imports torchvision
@pytest.mark.parametrize("name", FOLDERS)
def test_torchvision_without_network_is_one_clear_error(tmp_path, monkeypatch, capsys, name):
    def fail(url, *_, **__):
        raise URLError(f"no route to {url}")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", fail)
    assert_clear_error(name, tmp_path)
    assert capsys.readouterr().out == ""


def test_only_the_missing_file_is_named_and_nothing_is_fetched_if_switched_off(tmp_path):
    (write(tmp_path, "mnist") / FILES[1]).unlink()
    with pytest.raises(DataError, match=f"lacks {FILES[1]}, and downloading is switched off"):
        DATASETS["mnist"]().load(tmp_path, download=False)


def test_relative_root_is_named_absolutely(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=str(tmp_path / "here" / "MNIST")):
        DATASETS["mnist"]().load(Path("here"), download=False)


def test_download_is_moved_into_place_and_prints_nothing_on_stdout(tmp_path, monkeypatch, capsys):
    def fetch(root, *, download):
        print("100 %")
        write(root, "mnist")

    monkeypatch.setattr(DATASETS["mnist"], "archive", lambda self: fetch)
    assert len(DATASETS["mnist"]().load(tmp_path / "new").test) == 5
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["MNIST"]
    assert capsys.readouterr().out == ""


def test_status_reports_what_is_missing(tmp_path):
    source = DATASETS["mnist"]()
    assert FILES[0] in source.status(tmp_path)
    write(tmp_path, "mnist")
    assert source.status(tmp_path) == f"there, not checked: {tmp_path / 'MNIST' / 'raw'}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>not found</html>", "begins with 3c 68 74 6d.*a web page"),
        (b"", "no IDX file"),
        (idx(ARRAYS[FILES[0]])[:8], "no IDX file"),
        (idx(ARRAYS[FILES[1]]), "3-d"),
        (idx(ARRAYS[FILES[0]])[:-1], "holds 9407 bytes instead of 9408"),
        (idx(ARRAYS[FILES[0]]) + b"x", "holds 9409 bytes instead of 9408"),
    ],
)
def test_damaged_file_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{path}.*{message}"):
        read_idx(path, 3)


@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: data[:10] + b"\xff" * 20 + data[30:]])
def test_damaged_gz_is_refused_by_name(tmp_path, damage):
    (tmp_path / "images.gz").write_bytes(damage(gzip.compress(idx(ARRAYS[FILES[0]]))))
    with pytest.raises(DataError, match=r"images.*unreadable"):
        read_idx(tmp_path / "images", 3)


@pytest.mark.parametrize("place", ["MNIST/raw", "MNIST", "."])
def test_root_may_be_a_folder_further_in(tmp_path, place):
    write(tmp_path, "mnist")
    dataset = DATASETS["mnist"]().load(tmp_path / place, download=False)
    assert len(dataset.train) == 12
    assert str(tmp_path / "MNIST" / "raw") in dataset.name


def test_any_folder_with_the_four_files_is_read_but_not_that_of_another_data_set(tmp_path):
    write(tmp_path, "mnist").rename(tmp_path / "digits")
    assert len(DATASETS["mnist"]().load(tmp_path / "digits", download=False).train) == 12
    write(tmp_path, "fashion-mnist")
    for place in ("FashionMNIST", "FashionMNIST/raw"):
        with pytest.raises(DataError, match="lacks"):
            DATASETS["mnist"]().load(tmp_path / place, download=False)


def test_files_with_a_point_in_their_names_or_packed_without_saying_so_are_read(tmp_path):
    raw = write(tmp_path, "mnist")
    for file in FILES[:2]:
        (raw / file).rename(raw / file.replace("-idx", ".idx"))
    (raw / FILES[2]).write_bytes(gzip.compress((raw / FILES[2]).read_bytes()))
    assert len(DATASETS["mnist"]().load(tmp_path, download=False).test) == 5


def test_files_that_do_not_belong_together_are_named(tmp_path):
    raw = write(tmp_path, "mnist")
    (raw / FILES[1]).write_bytes(idx(ARRAYS[FILES[1]][:-1]))
    with pytest.raises(DataError, match=f"{raw}: 12 images and 11 labels") as caught:
        DATASETS["mnist"]().load(tmp_path)
    assert caught.value.exit_code == 2
    (raw / FILES[1]).write_bytes(idx(ARRAYS[FILES[1]] + 1))
    with pytest.raises(DataError, match=rf"{raw}.*\[1, 10\], not in \[0, 9\]"):
        DATASETS["mnist"]().load(tmp_path)
    (raw / FILES[0]).write_bytes(idx(np.zeros((0, 28, 28), np.uint8)))
    with pytest.raises(DataError, match=f"{raw / FILES[0]}: holds nothing"):
        DATASETS["mnist"]().load(tmp_path)


def test_a_download_that_fails_leaves_no_folders_of_the_data_set(tmp_path, monkeypatch):
    def fetch(root, *, download):
        raise URLError("no route")

    monkeypatch.setattr(DATASETS["mnist"], "archive", lambda self: fetch)
    with pytest.raises(DataError):
        DATASETS["mnist"]().load(tmp_path / "data")
    assert not (tmp_path / "data" / "MNIST").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is no folder"):
        DATASETS["mnist"]().load(tmp_path / "file")
