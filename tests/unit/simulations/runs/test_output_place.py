"""Where commands write: never over what is there unasked, never into a run, whole or not at all."""

import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import ConfigError
from simulations.commands import main
from simulations.runs.image_array import Images
from simulations.runs.image_files import write_images
from simulations.runs.output_place import check_target, new_folder
from simulations.runs.sample_requests import Draw

ORIGIN = {"run": "r", "data": "d", "round": 1, "seed": 0, "model-sha256": "x"}


def write(out, num=3, overwrite=False):
    Images.check_place("images", Draw(), out, overwrite, "add --overwrite")
    write_images(torch.zeros(num, 1, 8, 8, dtype=torch.uint8), torch.arange(num), out, 10, ORIGIN)


@pytest.fixture
def run(tmp_path):
    """Returns what looks like a run's folder."""
    folder = tmp_path / "run"
    (folder / "samples").mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    (folder / "config.toml").touch()
    (folder / "journal.jsonl").touch()
    return folder


@pytest.mark.parametrize("name", ["a.npz", "a.png", "A.PNG", "folder"])
def test_what_is_there_is_replaced_only_on_request(tmp_path, name):
    out = tmp_path / "new" / name
    write(out, num=5)
    with pytest.raises(ConfigError, match="is there already: name .*, or add --overwrite"):
        write(out)
    write(out, num=2, overwrite=True)
    if name == "folder":
        assert sorted(path.name for path in out.iterdir()) == ["00000-label-0.png", "00001-label-1.png"]
    elif name == "a.npz":
        assert len(np.load(out)["images"]) == 2
    else:
        with Image.open(out) as picture:
            assert picture.width == 2 * 10 + 2
    assert [path.name for path in out.parent.iterdir()] == [name]


def test_other_files_of_a_folder_stay(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is there already"):
        write(tmp_path)
    write(tmp_path, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 4


def test_an_empty_folder_is_written_to_and_stays_itself(tmp_path):
    out = tmp_path / "mounted"
    out.mkdir()
    before = out.stat().st_ino
    write(out)
    assert (out.stat().st_ino, len(list(out.iterdir()))) == (before, 3)


@pytest.mark.parametrize("place", ["", "a.png", "samples", "samples/a.png", "checkpoints", "new/a.npz", "../link/x"])
def test_a_run_is_never_a_target(run, place):
    (run.parent / "link").symlink_to(run)
    before = sorted(run.rglob("*"))
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="a run directory, which is the run's own: name a place outside"):
            write(run / place, overwrite=overwrite)
    with pytest.raises(ConfigError, match="the run's own"), new_folder(run / place):
        pass
    with pytest.raises(ConfigError, match="the run's own"):
        Images(np.zeros((1, 8, 8), np.uint8), np.zeros(1, np.int64), ORIGIN).save(run / place, overwrite=True)
    assert sorted(run.rglob("*")) == before


def test_a_folder_with_ones_own_configuration_is_no_run(tmp_path):
    (tmp_path / "config.toml").touch()
    write(tmp_path / "a.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "config.toml"]


def test_certificates_and_pictures_of_a_split_go_by_the_same_rule(run, capsys):
    picture = run.parent / "split.png"
    picture.touch()
    for arguments in (
        ["certificates", str(run / "certs"), "--host", "a"],
        ["partition", "--plot", str(run / "p.png")],
        ["partition", "--plot", str(picture)],
    ):
        assert main._run(arguments, debug=False) == 2
        assert "the run's own" in (reported := capsys.readouterr().err) or "or add --overwrite" in reported
    assert picture.stat().st_size == 0


def test_images_of_a_notebook_are_saved_over_on_request(tmp_path):
    images = Images(np.zeros((2, 8, 8), np.uint8), np.zeros(2, np.int64), ORIGIN)
    out = images.save(tmp_path / "a.npz")
    with pytest.raises(ConfigError, match="or give overwrite=True"):
        images.save(out)
    images[:1].save(out, overwrite=True)
    assert len(np.load(out)["images"]) == 1


@pytest.mark.parametrize("name", ["a.npz", "a.png", "folder", "kept"])
def test_what_is_interrupted_leaves_what_was_there(tmp_path, name, monkeypatch):
    out = tmp_path / name
    if name == "kept":
        out.mkdir()
        (out / "00000-label-7.png").write_text("before")

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", interrupted)
    monkeypatch.setattr(Image.Image, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(out, overwrite=True)
    assert [path.name for path in tmp_path.rglob("*")] == (["kept", "00000-label-7.png"] if name == "kept" else [])


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file" / "a.png", tmp_path / "file" / "folder"):
        with pytest.raises(ConfigError, match="cannot be written: it is below a file"):
            write(out)
    (tmp_path / "a.png").mkdir()
    with pytest.raises(ConfigError, match="is a folder: name a file"):
        write(tmp_path / "a.png")


def test_a_link_to_nowhere_is_something(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigError, match="is there already"):
        check_target(tmp_path / "a.png")
