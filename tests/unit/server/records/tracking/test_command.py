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


def test_a_finished_run_is_sent_once(directory, tracker, capsys):
    place = directory.path / "tracking" / "tensorboard"
    assert fedgan(directory.path, "--to", "tensorboard", capsys=capsys) == (0, f"{place}\n", "3 rounds sent\n")
    assert [round for round, _ in tracker.of("figures")] == [1, 2, 3]
    scores = tracker_sync._finite(directory.read_summary()["scores"])
    assert tracker.of("finish") == [[scores | {"num-samples": 100.0}, True]]
    assert tracker.of("figures")[-1][1]["scores/num-samples"] == 100.0
    tracker.calls.clear()
    code, out, err = fedgan(directory.path, "--to", "tensorboard", capsys=capsys)
    assert (code, out, err) == (0, "", "tensorboard is up to date: nothing was sent\n")
    assert tracker.calls == []


def test_what_was_sent_is_printed_as_json(directory, tracker, capsys):
    code, out, _ = fedgan(directory.path, "--to", "tensorboard", "--json", capsys=capsys)
    place = str(directory.path / "tracking" / "tensorboard")
    assert (code, json.loads(out)) == (
        0, {"run": str(directory.path), "to": "tensorboard", "rounds": 3, "where": place}
    )  # fmt: skip


def test_a_run_that_is_still_going_is_followed_to_its_end(small, tracker, line, capsys, monkeypatch):
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
    assert [round for round, _ in tracker.of("figures")] == [1, 2, 3]
    assert tracker.of("finish") == [[{}, False]]


def test_a_run_that_went_on_is_followed_though_all_of_its_rounds_are_reported(
    directory, tracker, line, capsys, monkeypatch
):
    monkeypatch.setattr(track, "_EVERY", 0.0)
    monkeypatch.setattr(status, "state_of", lambda view: ("failed", ""))
    fedgan(directory.path, "--to", "tensorboard", capsys=capsys)
    tracker.calls.clear()
    looks = iter(["running", "failed"])

    def look(view):
        now = next(looks)
        if now == "failed":
            journal.append(directory.journal, line(4))
        return now, ""

    monkeypatch.setattr(status, "state_of", look)
    assert fedgan(directory.path, "--to", "tensorboard", capsys=capsys)[0] == 0
    assert [round for round, _ in tracker.of("figures")] == [4]


def test_a_run_that_sent_all_to_its_tracker_itself_has_nothing_left_to_send(small, tracker, capsys):
    config = small(tracking="tensorboard")
    simulate(config, num_workers=1)
    tracker.calls.clear()
    code, _, err = fedgan(config.output.dir, "--to", "tensorboard", capsys=capsys)
    assert (code, err, tracker.calls) == (0, "tensorboard is up to date: nothing was sent\n", [])


def test_what_a_run_could_not_send_is_sent_later(small, tracker, capsys):
    config = small(tracking="tensorboard")
    tracker.fail = "figures of 2"
    simulate(config, num_workers=1)
    tracker.fail = ""
    code, _, err = fedgan(config.output.dir, "--to", "tensorboard", capsys=capsys)
    assert (code, err) == (0, "2 rounds sent\n")
    assert [round for round, _ in tracker.of("figures")] == [1, 2, 3]


def test_what_cannot_be_reported_is_refused_by_its_value(directory, tracker, tmp_path, capsys, monkeypatch):
    assert fedgan(directory.path, "--to", "comet", capsys=capsys) == (
        2, "", "error: --to 'comet': no such tracker; known: tensorboard, wandb, mlflow\n"
    )  # fmt: skip
    code, _, err = fedgan(tmp_path / "none", "--to", "wandb", capsys=capsys)
    assert (code, "is not a run directory" in err) == (2, True)
    other = tracker_sync.TrackerSync("tensorboard", RunConfig(), directory)
    with other.alone():
        code, _, err = fedgan(directory.path, "--to", "tensorboard", capsys=capsys)
    assert (code, "another process is sending" in err) == (2, True)
    monkeypatch.setitem(tracker_sync.TRACKERS, "wandb", ("no_such_tracker", "X"))
    code, _, err = fedgan(directory.path, "--to", "wandb", capsys=capsys)
    assert (code, "pip install 'fedgan[wandb]'" in err) == (2, True)
    tracker.fail = "open"
    assert fedgan(directory.path, "--to", "tensorboard", capsys=capsys) == (
        1, "", "error: tensorboard did not get everything: no open at all; the same command goes on from there\n"
    )  # fmt: skip
