"""Text is scored from end to end: in every scored round, at the end, by clients, and by whoever evaluates the run."""

import json

import pytest

from common.config import RunConfig
from common.datasets import DATASETS
from common.metrics import METRICS
from server.records import model_selection, report
from server.records.journal import events, read
from server.records.run_directory import RunDirectory
from simulations.commands import main
from simulations.runtime import in_process
from tests.unit.families.verses import Verses


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(DATASETS, "verses", Verses)


def config(run, **changes):
    return RunConfig.from_flat(
        {
            "data.name": "verses context=16",
            "model": "transformer layers=1 heads=1 width=16",
            "objective": "next-token",
            "optimiser": "adamw",
            "partition": "by-source",
            "federation.num-clients": 4,
            "federation.num-rounds": 4,
            "local.steps": 5,
            "local.learning-rate": 0.01,
            "evaluation.every": 2,
            "evaluation.num-samples": 100,
            "evaluation.final-num-samples": 120,
            "output.dir": str(run),
            **changes,
        }
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS, "verses", Verses)
        patch.setattr(report, "write_report", lambda run: run.report.touch() or run.report)
        path = tmp_path_factory.mktemp("runs") / "run"
        in_process.simulate(config(path), num_workers=1)
        return path


def test_rounds_are_compared_by_bits_and_nothing_is_said_of_scores_of_images(run):
    lines = read(RunDirectory(run).journal)
    scored = {line["round"]: line["scores"] for line in lines if line["scores"]}
    assert list(scored) == [1, 2, 4]
    assert all(list(scores)[:2] == ["bits-per-character", "accuracy"] for scores in scored.values())
    assert scored[4]["bits-per-character"] < scored[1]["bits-per-character"] < 6
    summary = RunDirectory(run).read_summary()
    assert scored[4]["accuracy"] == pytest.approx(summary["scores"]["accuracy"], abs=0.1)
    assert scored[4]["accuracy"] != summary["scores"]["accuracy"]  # that is of all rows, and not of a hundred
    assert summary["best"] == {"round": 4, "bits-per-character": scored[4]["bits-per-character"]}
    assert summary["not-scored"] == [e for e in events(RunDirectory(run).journal) if e["event"] == "not-scored"] == []
    assert summary["scored-with"] == {"extractor": None, "num-samples": 120}


def test_the_end_has_every_score_of_text_and_clients_tell_what_the_server_finds(run):
    scores = RunDirectory(run).read_summary()["scores"]
    of_text = {score.name for metric in METRICS.values() if "text" in metric.kinds for score in metric.scores}
    assert set(scores) == of_text - {
        score.name for score in METRICS["membership"].scores
    }  # which nothing is held out for
    for name in ("accuracy", "bits-per-character"):
        assert scores[f"federated-{name}"] == pytest.approx(scores[name], rel=1e-6)
    assert scores["federated-mean-accuracy"] == pytest.approx(scores["mean-clients-accuracy"], rel=1e-6)
    assert scores["federated-worst-accuracy"] == pytest.approx(scores["worst-clients-accuracy"], rel=1e-6)
    assert scores["client-accuracy"][scores["least-known-client"]] == min(scores["client-accuracy"])


def test_a_run_is_evaluated_again(run, capsys):
    assert main._run(["evaluate", str(run), "--metrics", "bleu,bits-per-character", "--json"], debug=False) == 0
    printed, scores = json.loads(capsys.readouterr().out)["scores"], RunDirectory(run).read_summary()["scores"]
    assert printed == {key: scores[key] for key in printed}
    assert len(printed) == 12
    assert main._run(["evaluate", str(run), "--metrics", "fid"], debug=False) == 2
    assert "metrics of images do not take text" in capsys.readouterr().err


def test_bleu_is_scored_at_several_temperatures(run, capsys):
    call = ["evaluate", str(run), "--metrics", "bleu", "--num", "100", "--temperatures"]
    assert main._run([*call, "0.5,1", "--json"], debug=False) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["temperatures"]["1"] == printed["scores"]
    assert printed["temperatures"]["0.5"]["self-bleu-2"] > printed["scores"]["self-bleu-2"]
    assert main._run([*call, "2"], debug=False) == 0
    assert "temperature 2     bleu-2 0." in capsys.readouterr().out
    for odd in ("0", "warm", "1,,2"):
        assert main._run([*call, odd], debug=False) == 2
        assert f"--temperatures {odd}: no numbers from 0.05 to 10" in capsys.readouterr().err


def test_what_ends_a_run_or_sends_it_back_goes_by_bits():
    lines = [
        {"round": round, "scores": {"accuracy": 0.1 * round, "bits-per-character": bits}}
        for round, bits in enumerate([3.0, 2.0, 2.5], start=1)
    ]
    assert model_selection.best(lines)["round"] == 2
    assert "bits-per-character has not fallen below 2, that of round 2" in model_selection.stalled(lines, 1)
    words = "bits-per-character 11 is more than 2.32 (the logarithm of guard.ratio=5 to base 2) above the best"
    assert words in model_selection.fault({"bits-per-character": 11.0}, lines, 5)
