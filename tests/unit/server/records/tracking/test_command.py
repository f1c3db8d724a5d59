"""``fedgan track`` as a script sees it."""

import json

import pytest

from common.config import RunConfig
from server.records import journal, run_directory
from server.records.run_directory import RunDirectory
from server.records.tracking import tracker_sync
from simulations.commands import main, track
from simulations.runs import status
from simulations.runtime.in_process import simulate

pytestmark = pytest.mark.usefixtures("no_reports")


def fedgan(*arguments, capsys):
    code = main._run(["track", *map(str, arguments)], debug=False)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def directory(small):
    config = small()
    simulate(config, num_workers=1)
    return RunDirectory(run_directory.resolve(config.output.dir).path)


def test_a_finished_run_is_told_once(directory, told, capsys):
    place = directory.path / "tracking" / "tensorboard"
    assert fedgan(directory.path, "--to", "tensorboard", capsys=capsys) == (0, f"{place}\n", "3 rounds sent\n")
    assert [round for round, _ in told.of("figures")] == [1, 2, 3]
    scores = tracker_sync._finite(directory.read_summary()["scores"])
    assert told.of("finish") == [[scores | {"num-samples": 100.0}, True]]
    assert told.of("figures")[-1][1]["scores/num-samples"] == 100.0
    told.calls.clear()
    code, out, err = fedgan(directory.path, "--to", "tensorboard", capsys=capsys)
    assert (code, out, err) == (0, "", "tensorboard is up to date: nothing was sent\n")
    assert told.calls == []


def test_what_was_told_is_told_as_json(directory, told, capsys):
    code, out, _ = fedgan(directory.path, "--to", "tensorboard", "--json", capsys=capsys)
    place = str(directory.path / "tracking" / "tensorboard")
    assert (code, json.loads(out)) == (
        0, {"run": str(directory.path), "to": "tensorboard", "rounds": 3, "where": place}
    )  # fmt: skip


def test_a_run_that_is_still_going_is_followed_to_its_end(small, told, line, capsys, monkeypatch):
    config = small()
    directory = RunDirectory(run_directory.resolve(config.output.dir).path)
    directory.create()
    directory.config.write_text(config.toml())
    looks = iter(["waiting for nodes", "running", "running", "failed"])

    def look(view):
        now = next(looks)
        if now != "waiting for nodes":
            journal.append(directory.journal, line(view.last_round + 1))
        return now, ""

    monkeypatch.setattr(status, "state_of", look)
    monkeypatch.setattr(track, "_EVERY", 0.0)
    assert fedgan(directory.path, "--to", "tensorboard", capsys=capsys)[0] == 0
    assert [round for round, _ in told.of("figures")] == [1, 2, 3]
    assert told.of("finish") == [[{}, False]]


def test_a_run_that_went_on_is_followed_though_all_of_its_rounds_are_told(directory, told, line, capsys, monkeypatch):
    monkeypatch.setattr(track, "_EVERY", 0.0)
    monkeypatch.setattr(status, "state_of", lambda view: ("failed", ""))
    fedgan(directory.path, "--to", "tensorboard", capsys=capsys)
    told.calls.clear()
    looks = iter(["running", "failed"])

    def look(view):
        now = next(looks)
        if now == "failed":
            journal.append(directory.journal, line(4))
        return now, ""

    monkeypatch.setattr(status, "state_of", look)
    assert fedgan(directory.path, "--to", "tensorboard", capsys=capsys)[0] == 0
    assert [round for round, _ in told.of("figures")] == [4]


def test_a_run_that_told_its_tracker_itself_has_nothing_left_to_tell(small, told, capsys):
    config = small(tracking="tensorboard")
    simulate(config, num_workers=1)
    told.calls.clear()
    code, _, err = fedgan(config.output.dir, "--to", "tensorboard", capsys=capsys)
    assert (code, err, told.calls) == (0, "tensorboard is up to date: nothing was sent\n", [])


def test_what_a_run_could_not_tell_is_told_later(small, told, capsys):
    config = small(tracking="tensorboard")
    told.fail = "figures of 2"
    simulate(config, num_workers=1)
    told.fail = ""
    code, _, err = fedgan(config.output.dir, "--to", "tensorboard", capsys=capsys)
    assert (code, err) == (0, "2 rounds sent\n")
    assert [round for round, _ in told.of("figures")] == [1, 2, 3]


def test_what_cannot_be_told_is_refused_by_its_value(directory, told, tmp_path, capsys, monkeypatch):
    assert fedgan(directory.path, "--to", "comet", capsys=capsys) == (
        2, "", "error: --to 'comet': no such tracker; known: tensorboard, wandb, mlflow\n"
    )  # fmt: skip
    code, _, err = fedgan(tmp_path / "none", "--to", "wandb", capsys=capsys)
    assert (code, "is not a run directory" in err) == (2, True)
    other = tracker_sync.TrackerSync("tensorboard", RunConfig(), directory)
    with other.alone():
        code, _, err = fedgan(directory.path, "--to", "tensorboard", capsys=capsys)
    assert (code, "another process is telling tensorboard" in err) == (2, True)
    monkeypatch.setitem(tracker_sync.TRACKERS, "wandb", ("no_such_tracker", "X"))
    code, _, err = fedgan(directory.path, "--to", "wandb", capsys=capsys)
    assert (code, "pip install 'fedgan[wandb]'" in err) == (2, True)
    told.fail = "open"
    assert fedgan(directory.path, "--to", "tensorboard", capsys=capsys) == (
        1, "", "error: tensorboard did not get everything: no open at all; the same command goes on from there\n"
    )  # fmt: skip
