"""A kind of example that is no picture goes through everything, without an edit outside of its own files."""

import re

import numpy as np
import pytest
import torch

from common import tree
from common.config import RunConfig
from common.datasets import DATASETS
from common.examples import SETS, SPECS
from common.models import MODELS
from common.objectives import OBJECTIVES
from common.seeding import torch_generator
from server import checkpoint
from server.records.journal import events, read
from server.records.run_directory import RunDirectory
from server.records.sample_picture import write_preview
from simulations.commands import main
from simulations.runs.generator import load_trained
from simulations.runtime import in_process
from tests.unit.families.sequences import Counting, Places, SequenceSet, SequenceSpec, Symbols
from tests.unit.simulations.serve.conftest import listening


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(SPECS, "sequences", SequenceSpec)
    monkeypatch.setitem(SETS, "sequences", SequenceSet)
    monkeypatch.setitem(DATASETS, "counting", Counting)
    monkeypatch.setitem(MODELS, "places", Places)
    monkeypatch.setitem(OBJECTIVES, "symbols", Symbols)


def config(run, **changes):
    return RunConfig.from_flat(
        {
            "data.name": "counting",
            "model": "places",
            "objective": "symbols",
            "optimiser": "adam beta1=0.5",
            "partition": "iid",
            "federation.num-clients": 3,
            "federation.num-rounds": 4,
            "local.steps": 20,
            "local.batch-size": 10,
            "local.learning-rate": 0.1,
            "local.schedule": "constant",
            "output.dir": str(run),
            **changes,
        }
    )


@pytest.fixture
def run(tmp_path):
    in_process.simulate(config(tmp_path / "run"), num_workers=1)
    return tmp_path / "run"


def weights(run):
    return tree.digest(checkpoint.latest(run / "checkpoints").snapshot.state.parameters)


def test_it_is_trained_scored_as_far_as_it_can_be_and_shown(run):
    lines = read(RunDirectory(run).journal)
    losses = [line["clients"][0]["symbols-loss"] for line in lines if line["clients"]]
    assert losses[-1] < losses[0] / 2
    reasons = [line["reason"] for line in events(RunDirectory(run).journal) if line["event"] == "not-scored"]
    assert any("sequences" in reason for reason in reasons), reasons
    preview = (run / "samples" / "round-0004.txt").read_text().splitlines()
    assert all(len(row.split()) == 6 for row in preview[2:])
    assert (run / "report.html").exists()


def test_it_goes_on_to_the_same_bits(run, tmp_path):
    in_process.simulate(config(tmp_path / "cut", **{"federation.num-rounds": 2}), num_workers=1)
    in_process.simulate(config(tmp_path / "cut", **{"output.resume": True}), num_workers=1)
    assert weights(tmp_path / "cut") == weights(run)


def test_it_is_generated_as_arrays_and_as_lines(run, tmp_path, capsys):
    assert main._run(["generate", str(run), "--num", "30", "--out", str(tmp_path / "a.npz")], debug=False) == 0
    with np.load(tmp_path / "a.npz") as arrays:
        examples, labels = arrays["examples"], arrays["labels"]
    expected = (labels[:, None] + np.arange(6)) % 8
    assert (examples == expected).mean() > 0.7
    assert main._run(["generate", str(run), "--num", "5", "--out", str(tmp_path / "a.txt")], debug=False) == 0
    assert len((tmp_path / "a.txt").read_text().splitlines()) == 5
    assert main._run(["generate", str(run), "--num", "5", "--out", str(tmp_path / "a.png")], debug=False) == 2
    assert "makes sequences: write to a .npz, or to a .txt" in capsys.readouterr().err


def test_it_is_served(run):
    with listening(run.parent) as client:
        (summary,) = client.get("/api/runs").json()["runs"]
        assert summary["state"] == "finished"
        detail = client.get("/api/runs/run").json()
        assert detail["model"].startswith("places")
        answer = client.post("/api/runs/run/generate", json={"num": 2})
        assert answer.status_code == 422 or answer.status_code == 400
        assert "sequences" in answer.json()["detail"]


@pytest.mark.parametrize("to", ["safetensors", "torch-export", "dataset"])
def test_exports_that_take_images_say_so(run, tmp_path, capsys, to):
    assert main._run(["export", str(run), "--to", to, "--out", str(tmp_path / "out")], debug=False) == 2
    assert f"this run makes sequences, and fedgan export --to {to} takes images" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_its_sampler_is_a_function_of_noise_and_labels(run):
    trained = load_trained(run)
    noise, labels = torch.randn(7, 6, generator=torch_generator(0, "noise")), torch.arange(7) % 3
    assert torch.equal(trained.generator(noise, labels)[2:3], trained.generator(noise[2:3], labels[2:3]))


def test_it_is_looked_at_before_a_run_and_trained_by_whatever_engine_is_chosen(tmp_path, capsys, caplog):
    assert main._run(["data", "counting"], debug=False) == 2  # as the default model makes images
    out, err = capsys.readouterr()
    assert "counting: 90 training and 30 held-out sequences, 6, 3 class(es)" in out
    assert "model dcgan makes images, the data are sequences of 6 of 8 symbols" in err
    with caplog.at_level("INFO"):
        in_process.simulate(config(tmp_path / "auto", **{"federation.num-rounds": 1}), num_workers=1, engine="fastest")
    assert re.search(r"engine: (threads|batched), as a trial of \d+ clients", caplog.text)


def test_real_ones_are_previewed_as_lines_too(tmp_path):
    data = Counting().load(None)
    write_preview(data.spec.preview(data.train.stored[:20], 10), None, tmp_path / "real.png")
    assert [path.name for path in tmp_path.iterdir()] == ["real.txt"]
    assert all(len(row.split()) == 6 for row in (tmp_path / "real.txt").read_text().splitlines())
