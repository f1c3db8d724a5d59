"""What a tracker is told, and that no tracker harms a run."""

import json
import logging
import sys
import threading
import time
import types
from typing import ClassVar

import pytest

from common import tree
from common.errors import ConfigError, FederationError
from server import checkpoint, journal
from server.journal import RunDirectory
from server.run import Run
from server.tracking import follower
from server.tracking.base import Tracker
from simulations.engine import simulate

pytestmark = pytest.mark.usefixtures("no_reports", "quick")

SCORED = {"evaluation__every": 1, "evaluation__extractor": "mnist-cnn", "evaluation__federated": False}


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(follower, "_EVERY", 0.02)


@pytest.fixture
def told(monkeypatch):
    """Returns what a tracker was told that stands in for tensorboard; ``told.fail`` names a call that raises."""

    class Recorder(Tracker):
        calls: ClassVar[list] = []
        fail = ""
        hang = threading.Event()

        def __init__(self, run):
            super().__init__(run)
            self.identity = run.identity or "first"
            self.note("open", run.identity, run.round, run.name, dict(run.config))

        def note(self, what, *values):
            if self.fail == what:
                raise OSError(f"no {what}\nat all")
            if self.fail == f"hang in {what}":
                self.hang.wait(20)
            self.calls.append((what, *values))

        def figures(self, round, values):
            self.note("figures", round, dict(values))

        def picture(self, round, path):
            self.note("picture", round, path.read_bytes()[:4])

        def rewind(self, round):
            self.note("rewind", round)

        def finish(self, scores, ended):
            self.note("finish", dict(scores), ended)

        @classmethod
        def of(cls, what):
            return [values for name, *values in cls.calls if name == what]

    module = types.ModuleType("recorder_of_this_test")
    module.Recorder = Recorder
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(follower.TRACKERS, "tensorboard", (module.__name__, "Recorder"))
    yield Recorder
    Recorder.hang.set()


def run(config):
    simulate(config, num_workers=1)
    return RunDirectory(journal.resolve(config.output.dir).path)


def weights(directory):
    return tree.digest(checkpoint.latest(directory.checkpoints).snapshot.state.parameters)


def warnings_in(caplog):
    return [record.getMessage() for record in caplog.records if "tracking" in record.getMessage()]


def test_a_tracker_is_told_each_round_once_with_samples_and_the_end(small, told):
    config = small(tracking="tensorboard", output__sample_every=2, **SCORED)
    directory = run(config)
    lines = journal.read(directory.journal)
    assert [round for round, _ in told.of("figures")] == [1, 2, 3]
    for line, (_, values) in zip(lines, told.of("figures"), strict=True):
        assert values["scores/fid"] == line["scores"]["fid"]
        assert values["clients-mean/generator-loss"] == journal.mean_of(line, "generator-loss")
        assert values["client-3/drift"] == line["clients"][3]["drift"]
        assert values["traffic/bytes-up"] == line["bytes-up"]
        assert values["progress/refused"] == 0
        assert values["seconds/train"] == line["seconds"]["train"]
    assert told.of("picture") == [[round, b"\x89PNG"] for round in (0, 1, 2, 3)]
    ((scores, ended),) = told.of("finish")
    assert ended
    assert scores["fid"] == directory.read_summary()["scores"]["fid"]
    ((identity, round, name, flat),) = told.of("open")
    assert (identity, round, name, flat["tracking"]) == ("", 0, "run", "tensorboard")


def test_without_a_tracker_there_is_no_thread_and_no_folder(small):
    before = threading.active_count()
    directory = run(small())
    assert not (directory.path / follower.FOLDER).exists()
    assert threading.active_count() == before


def test_a_failing_tracker_is_one_warning_and_changes_no_bit(small, told, caplog):
    plain = weights(run(small("plain")))
    for call in ("open", "figures", "picture", "finish"):
        told.fail = call
        caplog.clear()
        with caplog.at_level(logging.WARNING, "fedgan"):
            directory = run(small(call, tracking="tensorboard"))
        assert weights(directory) == plain
        assert directory.read_summary()["rounds"] == 3
        assert warnings_in(caplog) == [f"tracking='tensorboard' is off from here on, the run goes on: no {call} at all"]


def test_a_tracker_that_hangs_holds_no_run(small, told, caplog, monkeypatch):
    monkeypatch.setattr(follower, "_PATIENCE", 0.1)
    told.fail = "hang in figures"
    with caplog.at_level(logging.WARNING, "fedgan"):
        directory = run(small(tracking="tensorboard"))
    assert directory.read_summary()["rounds"] == 3
    assert warnings_in(caplog) == ["tracking='tensorboard' is not done after 0.1 seconds and is left alone"]


def test_a_tracker_that_is_not_installed_is_named_with_the_way_to_get_it(small, caplog, monkeypatch):
    monkeypatch.setitem(follower.TRACKERS, "wandb", ("no_such_tracker", "X"))
    with caplog.at_level(logging.WARNING, "fedgan"):
        assert run(small(tracking="wandb")).read_summary()["rounds"] == 3
    (warning,) = warnings_in(caplog)
    assert "No module named 'no_such_tracker'; pip install 'fedgan[wandb]' where the server runs" in warning


def test_an_unknown_tracker_is_refused_by_its_value(small):
    with pytest.raises(ConfigError, match=r"tracking='comet'.*'tensorboard'"):
        small(tracking="comet")


def test_a_run_that_fails_says_so_to_its_tracker(small, told, monkeypatch):
    def fail(self):
        raise FederationError("no more clients")

    monkeypatch.setattr(Run, "train", fail)
    with pytest.raises(FederationError):
        run(small(tracking="tensorboard"))
    assert told.of("finish") == [[{}, False]]


def test_a_resumed_run_goes_on_under_the_same_identity_with_the_rounds_that_are_new(small, told):
    run(small(tracking="tensorboard"))
    told.calls.clear()
    run(small(tracking="tensorboard", output__resume=True, federation__num_rounds=5))
    assert [(identity, round) for identity, round, *_ in told.of("open")] == [("first", 3)]
    assert [round for round, _ in told.of("figures")] == [4, 5]


def line(round):
    return {
        "round": round, "images-seen": round, "seconds": {}, "bytes-down": 0, "bytes-up": 0, "clients": [],
        "refused": [], "scores": {"fid": float(round), "kid": float("inf"), "client-fid": [1.0]},
    }  # fmt: skip


def test_a_run_that_goes_back_tells_its_rounds_again(small, told):
    config = small(tracking="tensorboard")
    directory = RunDirectory(journal.resolve(config.output.dir).path)
    directory.create()
    thread = follower.Follower(config, directory)
    tracker = thread._open()
    for round in (1, 2, 3):
        journal.append(directory.journal, line(round))
        thread._tell(tracker)
    with directory.journal.open("a") as file:
        file.write('{"round": 4, "im')  # a line that is being written
    thread._tell(tracker)
    journal.cut(directory.journal, 1)
    journal.append(directory.journal, {"event": "rollback", "round": 1, "reason": "x"})
    thread._tell(tracker)
    journal.append(directory.journal, line(2))
    thread._tell(tracker)
    assert [call[:2] for call in told.calls[1:]] == [
        ("figures", 1), ("figures", 2), ("figures", 3), ("rewind", 1), ("figures", 2)
    ]  # fmt: skip
    assert told.of("figures")[0][1] == {
        "scores/fid": 1.0, "traffic/bytes-down": 0.0, "traffic/bytes-up": 0.0, "progress/images-seen": 1.0,
        "progress/refused": 0.0,
    }  # fmt: skip


def test_tensorboard_shows_figures_and_samples_and_drops_rounds_that_are_done_again(small):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = small(tracking="tensorboard", **SCORED)
    directory = run(config)
    events = EventAccumulator(str(directory.path / "tracking" / "tensorboard")).Reload()
    lines = journal.read(directory.journal)
    assert [(e.step, e.value) for e in events.Scalars("scores/fid")] == [
        (ln["round"], pytest.approx(ln["scores"]["fid"], rel=1e-6)) for ln in lines
    ]
    assert [e.step for e in events.Images("samples")] == [0, 1, 3]
    journal.cut(directory.journal, 2)
    for path in directory.checkpoints.glob("round-0003*"):
        path.unlink()
    run(small(tracking="tensorboard", output__resume=True, federation__num_rounds=4, **SCORED))
    events = EventAccumulator(str(directory.path / "tracking" / "tensorboard")).Reload()
    assert [e.step for e in events.Scalars("scores/fid")] == [1, 2, 3, 4]


def test_wandb_without_a_key_writes_to_the_run_directory(small, monkeypatch, tmp_path, caplog):
    pytest.importorskip("wandb")
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # where a key would be
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with caplog.at_level(logging.WARNING, "fedgan"):
        directory = run(small(tracking="wandb", **SCORED))
    assert warnings_in(caplog) == []
    (file,) = (directory.path / "tracking" / "wandb").rglob("*.wandb")
    state = json.loads((directory.path / "tracking" / "wandb.json").read_text())
    assert state["identity"] in file.name
    assert state["round"] == 3
    wanted = (b"scores/fid", b"client-3/drift", b"final/fid", b"samples")
    for _ in range(600):  # wandb writes in a process of its own
        if all(text in file.read_bytes() for text in wanted):
            return
        time.sleep(0.05)
    pytest.fail(f"not all of {wanted} are in {file}")


def test_mlflow_without_a_server_writes_to_the_run_directory(small, monkeypatch, caplog):
    mlflow = pytest.importorskip("mlflow")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    with caplog.at_level(logging.WARNING, "fedgan"):
        directory = run(small(tracking="mlflow", **SCORED))
    assert warnings_in(caplog) == []
    client = mlflow.MlflowClient(tracking_uri=(directory.path / "tracking" / "mlflow").as_uri())
    identity = json.loads((directory.path / "tracking" / "mlflow.json").read_text())["identity"]
    found = client.get_run(identity)
    assert found.info.status == "FINISHED"
    assert found.data.params["federation.num-clients"] == "4"
    assert found.data.metrics["final/fid"] == directory.read_summary()["scores"]["fid"]
    history = client.get_metric_history(identity, "scores/fid")
    assert [(m.step, m.value) for m in history] == [
        (ln["round"], ln["scores"]["fid"]) for ln in journal.read(directory.journal)
    ]
    assert len(client.list_artifacts(identity, "samples")) == 3
