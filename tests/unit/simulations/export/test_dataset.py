"""Labelled images on disk: which they are, how they are split, and where they say they come from."""

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from common.datasets.image_folder import ImageFolder
from common.datasets.npz import Npz
from common.errors import ConfigError
from common.generation import balanced_labels, generate, in_parts
from server.records.run_directory import RunDirectory
from simulations.export import layouts, subjects
from simulations.export.dataset import export_dataset
from simulations.export.export_requests import parse
from simulations.export.layouts import folder_names
from simulations.runs import provenance
from simulations.runs.generator import load_trained


def pixels(content):
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture)


def export(run, out, **options):
    return export_dataset(run, load_trained(run.path), out, parse("dataset", options))


@pytest.fixture
def requested():
    return {"num": 60, "validation": 0.2, "seed": 7}


@pytest.fixture
def expected(trained):
    return generate(trained.generator, balanced_labels(60, 10), 7)[:, 0].numpy()


def test_a_folder_holds_each_image_once_under_its_class_with_its_origin(run, trained, requested, expected, tmp_path):
    reported = export(run, tmp_path / "out", layout="image-folder", **requested)
    assert (reported["train"], reported["validation"]) == (48, 12)
    seen = set()
    for path in (tmp_path / "out").glob("*/*/*.png"):
        facts = provenance.read(path)
        index = int(path.stem)
        assert np.array_equal(pixels(path.read_bytes()), expected[index])
        assert facts["index"] == index
        assert facts["label"] == int(path.parent.name) == index % 10
        assert (facts["run"], facts["round"], facts["seed"]) == ("digits", 1, 7)
        assert facts["model-sha256"] == trained.digest
        seen.add(index)
    assert seen == set(range(60))
    dataset = ImageFolder(grey=True, held_out=0.25).load(tmp_path / "out" / "train")
    assert dataset.class_names == tuple(map(str, range(10)))
    assert len(dataset.train) + len(dataset.test) == 48


def test_an_archive_holds_the_images_and_fedgan_trains_on_it(run, trained, requested, expected, tmp_path):
    reported = export(run, tmp_path / "out", layout="npz", **requested)
    rows = []
    for part in ("train", "validation"):
        with np.load(tmp_path / "out" / f"{part}.npz") as arrays:
            rows += [(label, image.tobytes()) for label, image in zip(arrays["labels"], arrays["images"], strict=True)]
            counts = np.bincount(arrays["labels"], minlength=10).tolist()
            assert reported["label-counts"][part] == counts
            assert max(counts) - min(counts) <= 1
        assert provenance.read(tmp_path / "out" / f"{part}.npz")["seed"] == 7
    assert sorted(rows) == sorted((i % 10, image.tobytes()) for i, image in enumerate(expected))
    dataset = Npz().load(tmp_path / "out" / "train.npz")
    assert dataset.labelled
    assert len(dataset.train) + len(dataset.test) == 48


def test_a_table_holds_pictures_labels_and_what_readers_need_to_know(run, trained, requested, expected, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    reported = export(run, tmp_path / "out", layout="parquet", **requested)
    assert reported["files"] == ["data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet"]
    seen = set()
    for name in reported["files"]:
        table = parquet.read_table(tmp_path / "out" / name)
        features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
        assert features["image"] == {"_type": "Image"}
        assert features["label"] == {"_type": "ClassLabel", "names": list(map(str, range(10)))}
        for row in table.to_pylist():
            assert np.array_equal(pixels(row["image"]["bytes"]), expected[row["index"]])
            assert row["label"] == row["index"] % 10
            seen.add(row["index"])
    assert seen == set(range(60))


@pytest.mark.parametrize("layout", ["image-folder", "npz", "parquet"])
def test_images_without_labels_get_none(layout, plain_run, tmp_path):
    if layout == "parquet":
        pytest.importorskip("pyarrow")
    reported = export(plain_run, tmp_path / "out", layout=layout, num=20)
    assert reported["labelled"] is False
    assert "**no labels**" in (tmp_path / "out" / "README.md").read_text()
    if layout == "image-folder":
        pictures = list((tmp_path / "out").glob("*/*/*.png"))
        assert {path.parent.name for path in pictures} == {"all"}
        assert {provenance.read(path)["label"] for path in pictures} == {-1}
    if layout == "npz":
        assert not Npz().load(tmp_path / "out" / "train.npz").labelled


def test_one_class_without_a_part_to_validate_on(run, trained, tmp_path):
    reported = export(run, tmp_path / "out", num=5, validation=0, seed=1, label=7)
    assert reported["label-counts"]["train"] == [0] * 7 + [5, 0, 0]
    assert sorted(path.parts[-3:-1] for path in (tmp_path / "out").rglob("*.png")) == [("train", "7")] * 5
    first = generate(trained.generator, torch.full((5,), 7), 1)[0, 0].numpy()
    assert np.array_equal(pixels((tmp_path / "out" / "train" / "7" / "000000.png").read_bytes()), first)


def test_tables_are_cut_into_files_and_hold_each_image_once(run, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(layouts, "_SHARD", 8)
    monkeypatch.setattr(layouts, "_ROW_GROUP", 4)
    reported = export(run, tmp_path / "out", layout="parquet", num=25, validation=0.2)
    assert reported["files"] == [
        "data/train-00000-of-00003.parquet", "data/train-00001-of-00003.parquet", "data/train-00002-of-00003.parquet",
        "data/validation-00000-of-00001.parquet",
    ]  # fmt: skip
    rows = [parquet.read_table(tmp_path / "out" / name)["index"].to_pylist() for name in reported["files"]]
    assert [len(part) for part in rows] == [8, 8, reported["train"] - 16, reported["validation"]]
    assert sorted(index for part in rows for index in part) == list(range(25))


@pytest.mark.parametrize("layout", ["image-folder", "npz", "parquet"])
def test_images_are_written_before_the_next_are_made(layout, run, tmp_path, monkeypatch):
    if layout == "parquet":
        pytest.importorskip("pyarrow")
        monkeypatch.setattr(layouts, "_ROW_GROUP", 100)
        monkeypatch.setattr(layouts, "_SHARD", 100)
    sizes = []

    def made(generator, labels, seed):
        for images in in_parts(generator, labels, seed):
            yield images
            sizes.append(sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()))

    monkeypatch.setattr(subjects, "in_parts", made)
    export(run, tmp_path / "out", layout=layout, num=1500)
    assert len(sizes) == 3
    assert sizes == sorted(set(sizes))  # grows with each batch
    assert sizes[0] > 50_000


def test_a_part_may_be_missing_from_a_batch(run, trained, tmp_path):
    reported = export(run, tmp_path / "out", layout="npz", num=507, validation=0.002, label=3)
    assert (reported["train"], reported["validation"]) == (506, 1)
    train, validation = (np.load(tmp_path / "out" / f"{part}.npz")["images"] for part in ("train", "validation"))
    expected = [image.tobytes() for image in generate(trained.generator, torch.full((507,), 3), 0)[:, 0].numpy()]
    expected.remove(validation[0].tobytes())
    assert [image.tobytes() for image in train] == expected  # in order, also those of the second batch


def test_a_mixture_fills_a_data_set(mixed_run, tmp_path):
    reported = export(mixed_run, tmp_path / "out", layout="npz", num=20)
    assert reported["train"] + reported["validation"] == 20


def test_the_card_has_counts_split_and_the_generators_card(run, trained, requested, tmp_path):
    export(run, tmp_path / "out", layout="npz", **requested, licence="my own terms")
    card = (tmp_path / "out" / "README.md").read_text()
    for words in (
        'license: "my own terms"',
        "48 training and 12 validation images",
        "| 3 | 5 | 1 |",
        "says nothing about real images",
        "neither secure aggregation nor differential privacy",
        "3 clients with 40 images each",
        trained.digest,
    ):
        assert words in card


def test_what_is_no_data_set_is_refused_by_its_value(run, plain_run, tmp_path):
    for of, options, words in (
        (run, {"layout": "tar"}, "layout='tar': Input should be 'image-folder', 'npz', 'parquet' or 'jsonl'"),
        (run, {"label": 10}, "label=10; the generator knows 0 to 9"),
        (plain_run, {"label": 1}, "label=1: this run's generator is not conditional"),
        (run, {"validation": 1.0}, "validation=1.0: Input should be less than 1"),
        (run, {"validation": float("nan")}, "validation=nan: Input should be a finite number"),
        (run, {"num": 1}, "num=1: at least 2 images can be split; or set validation to 0"),
        (run, {"num": True}, "num=True: Input should be a valid integer"),
        (run, {"seed": 2**63}, "seed=9223372036854775808: Input should be less than 9223372036854775808"),
        (run, {"lable": 1}, "lable=1: no such option; did you mean 'label'?"),
        (run, {"precisions": ["int8"]}, "precisions=['int8'] is for a model, not for dataset"),
        (run, {"licence": "a\nb"}, "one line of text"),
    ):
        with pytest.raises(ConfigError) as caught:
            export(of, tmp_path / "out", **options)
        assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_class_folders_sort_as_their_labels_and_are_safe_names():
    assert folder_names(["cat", "dog"]) == ["cat", "dog"]
    assert folder_names(["Cat", "cat"]) == ["0-Cat", "1-cat"]  # one folder on some file systems
    assert folder_names(["dog", "cat"]) == ["0-dog", "1-cat"]
    assert folder_names([str(k) for k in range(11)])[2:4] == ["02-2", "03-3"]
    assert folder_names(["../../etc", "", "b/c"]) == ["0-_._.._etc", "1-_", "2-b_c"]


@pytest.mark.parametrize("layout", ["image-folder", "npz"])
def test_names_that_are_no_utf8_break_no_export(run, tmp_path, layout):
    names = ["caf\udce9", "\ud800", "a|b", "a\0b", "c\nd", *"efghi"]  # as older runs took them from their folders
    odd = RunDirectory(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")))
    shutil.copytree(run.path, odd.path)
    for file in (odd.summary, odd.partition):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"class-names": names}))
    reported = export(odd, tmp_path / "out", layout=layout, num=20)
    assert reported["class-names"][:3] == ["caf\\xe9", "\\ud800", "a|b"]
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "caf\\xe9" in text
    assert "| a\\|b |" in text
    assert json.loads((tmp_path / "out" / "dataset.json").read_text(encoding="utf-8"))["run"] == "caf\\xe9"
