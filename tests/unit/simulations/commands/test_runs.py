"""``fedgan runs``: listing, comparing, archiving and deleting, on runs of earlier versions, which are small."""

import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from server.records.run_directory import RunDirectory
from simulations.commands import main, runs
from simulations.runs import archives
from tests.archives import SAFELY

OLD = Path(__file__).parents[3] / "old_runs"


def fedgan(*arguments, capsys):
    code = main._run([str(argument) for argument in arguments], debug=False)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Returns a folder with two runs, in which the commands are called."""
    shutil.copytree(OLD, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_runs_are_listed_with_state_rounds_and_size_also_without_a_word(folder, capsys):
    code, out, err = fedgan("runs", capsys=capsys)
    assert (code, err) == (0, "")
    head, *rows = out.splitlines()
    assert head.split() == ["run", "state", "rounds", "best", "algorithm", "data", "size"]
    assert sorted(row.split()[0] for row in rows) == ["runs/kept-moments", "runs/own-generators"]
    assert all(row.split()[1] == "finished" for row in rows)
    assert fedgan("runs", "list", "runs", capsys=capsys)[1] == out
    (one,) = json.loads(fedgan("runs", "list", "runs/kept-moments", "--json", capsys=capsys)[1])["runs"]
    assert (one["run"], one["round"], one["state"]) == (str(folder / "runs" / "kept-moments"), 3, "finished")
    assert one["bytes"] == sum(map(len, contents(folder / "runs" / "kept-moments").values()))


def test_a_folder_without_runs_and_none_at_all(folder, capsys):
    (folder / "empty").mkdir()
    assert fedgan("runs", "list", "empty", capsys=capsys) == (0, "", "no runs below empty\n")
    code, _, err = fedgan("runs", "list", "nowhere", capsys=capsys)
    assert (code, "'nowhere' is no folder" in err) == (2, True)


def test_what_differs_is_shown_side_by_side(folder, capsys):
    code, out, _ = fedgan("runs", "compare", "runs/kept-moments", "runs/own-generators", capsys=capsys)
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[1:]}
    assert code == 0
    assert rows["federation.num-rounds"] == ["3", "2"]
    assert rows["score"] == ["1.143", "-"]
    assert rows["algorithm"] == ["fedavg", "sync=both", "fedavg", "sync=discriminator"]  # no option that they share
    assert "output.dir" not in rows
    assert "federation.fraction" not in rows
    _, out, _ = fedgan("runs", "compare", "runs/kept-moments", "runs/own-generators", "--all", "--json", capsys=capsys)
    assert json.loads(out)["settings"]["federation.fraction"] == [1.0, 1.0]


def test_a_run_as_such_differs_in_nothing_from_its_copy(folder, capsys):
    shutil.copytree("runs/kept-moments", "copy")
    _, out, _ = fedgan("runs", "compare", "runs/kept-moments", "copy", "--json", capsys=capsys)
    assert json.loads(out)["settings"] == {}


@pytest.mark.parametrize("name", ["all.tar.gz", "all.zip"])
def test_an_archive_unpacks_to_runs_that_can_be_read(folder, capsys, name):
    (folder / "runs" / "kept-moments" / ".lock").touch()
    before = contents(folder / "runs")
    code, out, _ = fedgan("runs", "archive", "runs/kept-moments", "runs/own-generators", "--out", name, capsys=capsys)
    assert (code, out.split()[0]) == (0, name)
    assert contents(folder / "runs") == before
    if name.endswith("zip"):
        zipfile.ZipFile(name).extractall("unpacked")
    else:
        with tarfile.open(name) as packed:
            assert {member.uname for member in packed} == {""}
            packed.extractall("unpacked", **SAFELY)
    before.pop("kept-moments/.lock")
    assert contents(folder / "unpacked") == before
    assert fedgan("generate", "unpacked/kept-moments", "--num", 2, "--out", "two.npz", capsys=capsys)[0] == 0
    code, _, err = fedgan("runs", "archive", "runs/kept-moments", "--out", name, capsys=capsys)
    assert (code, "is there already" in err) == (2, True)


def test_runs_of_one_name_are_told_apart_in_an_archive(folder):
    shutil.copytree("runs/kept-moments", "other/kept-moments")
    archives.archive([RunDirectory(Path(p)) for p in ("runs/kept-moments", "other/kept-moments")], Path("a.zip"), False)
    tops = {name.rpartition("/config.toml")[0] for name in zipfile.ZipFile("a.zip").namelist() if "config" in name}
    assert tops == {"runs/kept-moments", "other/kept-moments"}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["archive", "runs/kept-moments", "--out", "a.rar"], "an archive's name ends with .tar.gz, .tgz, .zip"),
        (["archive", "runs", "--out", "a.zip"], "it holds runs: name one"),
        (["archive", "runs/kept-moments", "--out", "runs/kept-moments/a.zip"], "which is the run's own"),
        (["delete", "nowhere", "--yes"], "is not a run directory"),
        (["delete", "runs/kept-moments"], "stdin is no terminal: add --yes"),
        (["deleet", "runs/kept-moments"], "did you mean delete?"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_is_lost(folder, capsys, words, reason):
    before = contents(folder)
    code, out, err = fedgan("runs", *words, capsys=capsys)
    assert (code, out) == (2, "")
    assert reason in err
    assert contents(folder) == before


def test_runs_are_deleted_with_yes_and_others_stay(folder, capsys):
    code, out, err = fedgan("runs", "delete", "runs/kept-moments", "--yes", capsys=capsys)
    assert (code, out) == (0, f"deleted  {folder / 'runs' / 'kept-moments'}\n")
    assert "5 files" in err
    assert [path.name for path in (folder / "runs").iterdir()] == ["own-generators"]


@pytest.mark.parametrize(("answer", "left"), [(True, 1), (False, 2)])
def test_a_terminal_is_asked(folder, capsys, monkeypatch, answer, left):
    monkeypatch.setattr(runs.sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(runs.typer, "confirm", lambda words, err: answer)
    assert fedgan("runs", "delete", "runs/kept-moments", capsys=capsys)[0] == (0 if answer else 2)
    assert len(list((folder / "runs").iterdir())) == left


def test_a_run_at_work_is_neither_deleted_nor_archived(folder, capsys):
    run = RunDirectory(Path("runs/kept-moments"))
    (run.path / "summary.json").unlink()
    with run.locked():
        code, _, err = fedgan("runs", "delete", run.path, "--yes", capsys=capsys)
        assert (code, "another process is at work" in err) == (2, True)
        run.journal.touch()
        code, _, err = fedgan("runs", "archive", run.path, "--out", "a.zip", capsys=capsys)
        assert (code, "is still written to" in err) == (2, True)
    assert run.config.is_file()


def test_links_and_folders_with_other_runs_are_not_deleted(folder, capsys):
    (folder / "link").symlink_to(folder / "runs" / "kept-moments")
    code, _, err = fedgan("runs", "delete", "link", "--yes", capsys=capsys)
    assert (code, "is a link" in err) == (2, True)
    shutil.copytree("runs/own-generators", "runs/kept-moments/more/inner")
    code, _, err = fedgan("runs", "delete", "runs/kept-moments", "--yes", capsys=capsys)
    assert (code, "holds other runs" in err) == (2, True)
    assert (folder / "runs" / "kept-moments" / "config.toml").is_file()
