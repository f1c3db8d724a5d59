"""CIFAR-10 as torchvision keeps it: read, fetched, or clearly missing; a stand-in with checksums of its own."""

import hashlib
import pickle
import shutil
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

from common.config import RunConfig
from common.datasets import DATASETS
from common.datasets.cifar_10 import Cifar10
from common.errors import DataError
from server.records import journal
from server.records.run_directory import RunDirectory
from simulations.runtime.in_process import simulate
from simulations.runtime.settings import read_preset

FOLDER = "cifar-10-batches-py"
PER_FILE = 40
NAMES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def write(root, monkeypatch):
    """Writes a small data set in CIFAR-10's form, and has torchvision take its checksums for those of the published."""
    folder = Path(root) / FOLDER
    folder.mkdir(parents=True)
    generator, written, sums = np.random.default_rng(0), {}, {}
    for name in NAMES:
        labels = [int(label) for label in np.arange(PER_FILE) % 10]
        written[name] = generator.integers(0, 256, (PER_FILE, 3072), np.uint8), labels
        content = pickle.dumps({"data": written[name][0], "labels": labels})
        (folder / name).write_bytes(content)
        sums[name] = hashlib.md5(content).hexdigest()
    meta = pickle.dumps({"label_names": list(Cifar10.class_names)})
    (folder / "batches.meta").write_bytes(meta)
    monkeypatch.setattr(CIFAR10, "train_list", [[name, sums[name]] for name in NAMES[:5]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    known = {"filename": "batches.meta", "key": "label_names", "md5": hashlib.md5(meta).hexdigest()}
    monkeypatch.setattr(CIFAR10, "meta", known)
    return folder, written


@pytest.mark.parametrize("named", [False, True], ids=["the folder above", "the folder itself"])
def test_pictures_are_read_in_order_with_their_labels(tmp_path, monkeypatch, named):
    folder, written = write(tmp_path, monkeypatch)
    data = DATASETS["cifar-10"]().load(folder if named else tmp_path, download=False)
    assert (data.spec.channels, data.spec.size, data.spec.num_classes) == (3, 32, 10)
    assert (len(data.train), len(data.test)) == (5 * PER_FILE, PER_FILE)
    pixels, labels = written["data_batch_2"]
    here = slice(PER_FILE, 2 * PER_FILE)
    assert np.array_equal(data.train.images[here].numpy(), pixels.reshape(-1, 3, 32, 32))
    assert data.train.labels[here].tolist() == labels
    assert DATASETS["cifar-10"]().load(tmp_path, image_size=28).spec.size == 28
    assert DATASETS["cifar-10"]().status(tmp_path) == f"there, not checked: {folder}"


def test_a_file_that_is_not_the_published_one_is_not_unpickled(tmp_path, monkeypatch):
    folder, _ = write(tmp_path, monkeypatch)

    class Harmful:
        def __reduce__(self):
            return (tmp_path / "ran").touch, ()

    (folder / "data_batch_3").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(DataError, match="not those that were published") as caught:
        DATASETS["cifar-10"]().load(tmp_path)
    assert str(folder) in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_what_is_missing_is_named_with_the_way_out(tmp_path, monkeypatch):
    folder, _ = write(tmp_path, monkeypatch)
    (folder / "test_batch").unlink()
    with pytest.raises(DataError, match="lacks test_batch, and downloading is switched off.*data.name=mnist-10k"):
        DATASETS["cifar-10"]().load(tmp_path, download=False)
    assert "missing in" in DATASETS["cifar-10"]().status(tmp_path)

    def fail(*_, **__):
        raise URLError("no route")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fail)
    with pytest.raises(DataError, match="lacks data_batch_1, .*the download failed: <urlopen error no route>"):
        DATASETS["cifar-10"]().load(tmp_path / "empty")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is no folder"):
        DATASETS["cifar-10"]().load(tmp_path / "file")


def test_a_download_is_moved_into_place(tmp_path, monkeypatch, capsys):
    source, _ = write(tmp_path / "server", monkeypatch)

    def fetch(url, root, **_):
        print("100 %")
        shutil.copytree(source, Path(root) / FOLDER)

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fetch)
    root = tmp_path / "here"
    assert len(DATASETS["cifar-10"]().load(root).train) == 5 * PER_FILE
    assert [entry.name for entry in root.iterdir()] == [FOLDER]
    assert capsys.readouterr().out == ""


TINY = {
    "federation.num-rounds": 1,
    "federation.num-clients": 2,
    "local.steps": 1,
    "local.batch-size": 4,
    "evaluation.every": 0,
    "evaluation.final-num-samples": 100,
    "evaluation.utility-num-samples": 0,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "further"),
    [
        ("cifar-p1", {"partition": "shards per-client=2", "model": "dcgan width=4"}),
        (
            "cifar-p2",
            {"partition": "dirichlet alpha=0.1 examples-per-client=20 min-examples=20", "model": "dcgan width=4"},
        ),
    ],
)
def test_its_presets_train_and_are_scored(tmp_path, monkeypatch, preset, further):
    write(tmp_path, monkeypatch)
    requested = {"data.root": str(tmp_path), "output.dir": str(tmp_path / "run")}
    simulate(RunConfig().replaced({**read_preset(preset), **TINY, **further, **requested}), num_workers=1)
    (line,) = journal.read(RunDirectory(tmp_path / "run").journal)
    assert line["round"] == 1
    assert RunDirectory(tmp_path / "run").read_summary()["scores"]["fid"] > 0
