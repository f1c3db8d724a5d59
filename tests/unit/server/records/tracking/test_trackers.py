"""The trackers themselves, without a server."""

import json
import logging
import time

import pytest

from server.records import journal, run_directory
from server.records.run_directory import RunDirectory
from simulations.commands import main
from simulations.runtime.in_process import simulate

pytestmark = pytest.mark.usefixtures("no_reports", "quick")

SCORED = {"evaluation__every": 1, "evaluation__extractor": "mnist-cnn", "evaluation__federated": False}


def run(config):
    simulate(config, num_workers=1)
    return RunDirectory(run_directory.resolve(config.output.dir).path)


def warnings_in(caplog):
    return [record.getMessage() for record in caplog.records if "tracking" in record.getMessage()]


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
    assert list(state["rounds"]) == ["1", "2", "3"]
    expected = (b"scores/fid", b"client-3/drift", b"final/fid", b"samples")
    for _ in range(600):  # wandb writes in a process of its own
        if all(text in file.read_bytes() for text in expected):
            return
        time.sleep(0.05)
    pytest.fail(f"not all of {expected} are in {file}")


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


def tell(name, directory, capsys):
    assert main._run(["track", str(directory.path), "--to", name], debug=False) == 0
    return capsys.readouterr().err


def change(directory, fid):
    """Makes rounds 2 and 3 others, as after a rollback."""
    lines = journal.read(directory.journal)
    journal.cut(directory.journal, 1)
    for line in lines[1:]:
        journal.append(directory.journal, line | {"scores": {**line["scores"], "fid": fid}})


def test_tensorboard_has_each_point_once_however_often_it_is_reported(small, capsys):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    directory = run(small(**SCORED))
    place = directory.path / "tracking" / "tensorboard"
    assert tell("tensorboard", directory, capsys) == "3 rounds sent\n"
    assert tell("tensorboard", directory, capsys) == "tensorboard is up to date: nothing was sent\n"
    fids = [line["scores"]["fid"] for line in journal.read(directory.journal)]
    events = EventAccumulator(str(place)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("scores/fid")] == [
        (round, pytest.approx(fid, rel=1e-6)) for round, fid in enumerate(fids, start=1)
    ]
    assert len(events.Tensors("configuration/text_summary")) == 1
    change(directory, 7.0)
    assert tell("tensorboard", directory, capsys) == "2 rounds sent\n"
    events = EventAccumulator(str(place)).Reload()
    assert [e.value for e in events.Scalars("scores/fid")] == [pytest.approx(fids[0], rel=1e-6), 7.0, 7.0]


def test_mlflow_has_each_point_once_until_a_round_becomes_another(small, capsys, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    directory = run(small(**SCORED))
    assert tell("mlflow", directory, capsys) == "3 rounds sent\n"
    assert tell("mlflow", directory, capsys) == "mlflow is up to date: nothing was sent\n"
    client = mlflow.MlflowClient(tracking_uri=(directory.path / "tracking" / "mlflow").as_uri())
    (found,) = client.search_runs([client.get_experiment_by_name("fedgan").experiment_id])
    assert found.info.status == "FINISHED"
    identity = found.info.run_id
    assert [m.step for m in client.get_metric_history(identity, "scores/fid")] == [1, 2, 3]
    change(directory, 7.0)
    assert tell("mlflow", directory, capsys) == "2 rounds sent\n"
    history = client.get_metric_history(identity, "scores/fid")
    assert sorted(m.step for m in history) == [1, 2, 2, 3, 3]
    assert client.get_run(identity).data.metrics["scores/fid"] == 7.0


def test_wandb_is_sent_once_and_later_under_the_same_id(small, capsys, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    directory = run(small(**SCORED))
    assert tell("wandb", directory, capsys) == "3 rounds sent\n"
    assert tell("wandb", directory, capsys) == "wandb is up to date: nothing was sent\n"
    assert len(list((directory.path / "tracking" / "wandb").rglob("*.wandb"))) == 1
    change(directory, 7.0)
    assert tell("wandb", directory, capsys) == "2 rounds sent\n"
    files = list((directory.path / "tracking" / "wandb").rglob("*.wandb"))
    assert (len(files), len({path.name for path in files})) == (2, 1)


def test_a_server_of_mlflow_that_is_down_fails_the_command_and_no_run(small, capsys, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    directory = run(small(tracking="mlflow"))
    assert directory.read_summary()["rounds"] == 3
    assert main._run(["track", str(directory.path), "--to", "mlflow"], debug=False) == 1
    assert "error: mlflow did not get everything: " in capsys.readouterr().err
