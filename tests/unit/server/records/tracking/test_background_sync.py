"""What a tracker is told of a run as it trains, and that no tracker harms a run."""

import logging
import threading

import pytest

from common import tree
from common.errors import ConfigError, FederationError
from server import checkpoint
from server.records import journal, run_directory
from server.records.run_directory import RunDirectory
from server.records.tracking import background_sync, tracker_sync
from server.run import Run
from simulations.runtime.in_process import simulate

pytestmark = pytest.mark.usefixtures("no_reports", "quick")

SCORED = {"evaluation__every": 1, "evaluation__extractor": "mnist-cnn", "evaluation__federated": False}


def run(config):
    simulate(config, num_workers=1)
    return RunDirectory(run_directory.resolve(config.output.dir).path)


def weights(directory):
    return tree.digest(checkpoint.latest(directory.checkpoints).snapshot.state.parameters)


def warnings_in(caplog):
    return [record.getMessage() for record in caplog.records if "tracking" in record.getMessage()]


def test_a_tracker_gets_each_round_once_with_samples_and_the_end(small, tracker):
    config = small(tracking="tensorboard", output__sample_every=2, **SCORED)
    directory = run(config)
    lines = journal.read(directory.journal)
    assert [round for round, _ in tracker.of("figures")] == [1, 2, 3]
    for line, (_, values) in zip(lines, tracker.of("figures"), strict=True):
        assert values["scores/fid"] == line["scores"]["fid"]
        assert values["clients-mean/generator-loss"] == journal.mean_of(line, "generator-loss")
        assert values["client-3/drift"] == line["clients"][3]["drift"]
        assert values["traffic/bytes-up"] == line["bytes-up"]
        assert values["progress/refused"] == 0
        assert values["seconds/train"] == line["seconds"]["train"]
    assert tracker.of("picture") == [[round, b"\x89PNG"] for round in (0, 1, 2, 3)]
    ((scores, ended),) = tracker.of("finish")
    assert ended
    assert scores["fid"] == directory.read_summary()["scores"]["fid"]
    ((identity, round, name, flat),) = tracker.of("open")
    assert (identity, round, name, flat["tracking"]) == ("", 0, "run", "tensorboard")


def test_without_a_tracker_there_is_no_thread_and_no_folder(small):
    before = threading.active_count()
    directory = run(small())
    assert not (directory.path / tracker_sync.FOLDER).exists()
    assert threading.active_count() == before


def test_a_failing_tracker_is_one_warning_and_changes_no_bit(small, tracker, caplog):
    plain = weights(run(small("plain")))
    for call in ("open", "figures", "picture", "finish"):
        tracker.fail = call
        caplog.clear()
        with caplog.at_level(logging.WARNING, "fedgan"):
            directory = run(small(call, tracking="tensorboard"))
        assert weights(directory) == plain
        assert directory.read_summary()["rounds"] == 3
        assert warnings_in(caplog) == [
            f"tracking='tensorboard' is off from here on, the run goes on: no {call} at all; "
            f"fedgan track {directory.path} --to tensorboard tells what is missing"
        ]


def test_a_tracker_that_hangs_holds_no_run(small, tracker, caplog, monkeypatch):
    monkeypatch.setattr(background_sync, "_PATIENCE", 0.1)
    tracker.fail = "hang in figures"
    with caplog.at_level(logging.WARNING, "fedgan"):
        directory = run(small(tracking="tensorboard"))
    assert directory.read_summary()["rounds"] == 3
    assert warnings_in(caplog) == [
        "tracking='tensorboard' is not done after 0.1 seconds and is left alone; "
        f"fedgan track {directory.path} --to tensorboard tells what is missing"
    ]


def test_a_tracker_that_is_not_installed_is_named_with_the_way_to_get_it(small, caplog, monkeypatch):
    monkeypatch.setitem(tracker_sync.TRACKERS, "wandb", ("no_such_tracker", "X"))
    with caplog.at_level(logging.WARNING, "fedgan"):
        assert run(small(tracking="wandb")).read_summary()["rounds"] == 3
    (warning,) = warnings_in(caplog)
    assert "No module named 'no_such_tracker'; pip install 'fedgan[wandb]' where the server runs" in warning


def test_an_unknown_tracker_is_refused_by_its_value(small):
    with pytest.raises(ConfigError, match=r"tracking='comet'.*'tensorboard'"):
        small(tracking="comet")


def test_a_run_that_fails_says_so_to_its_tracker(small, tracker, monkeypatch):
    def fail(self):
        raise FederationError("no more clients")

    monkeypatch.setattr(Run, "train", fail)
    with pytest.raises(FederationError):
        run(small(tracking="tensorboard"))
    assert tracker.of("finish") == [[{}, False]]


def test_a_resumed_run_goes_on_under_the_same_identity_with_the_rounds_that_are_new(small, tracker):
    run(small(tracking="tensorboard"))
    tracker.calls.clear()
    run(small(tracking="tensorboard", output__resume=True, federation__num_rounds=5))
    assert [(identity, round) for identity, round, *_ in tracker.of("open")] == [("first", 3)]
    assert [round for round, _ in tracker.of("figures")] == [4, 5]
