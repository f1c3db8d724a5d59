"""Which round is meant where none is named: the last one, everywhere, so that everybody gets the same images."""

import io
import json
import shutil

import numpy as np
import pytest

import simulations
from common.models.base import ADVERSARIAL
from common.tree import digest
from server import checkpoint
from simulations.commands import main
from simulations.serve.generate_requests import GenerateRequest
from tests.unit.simulations.serve.conftest import listening


@pytest.fixture
def run(trained, tmp_path):
    """Returns a run whose best round, 2, is not its last one."""
    copy = shutil.copytree(trained / "digits", tmp_path / "runs" / "digits")
    lines = [json.loads(line) for line in (copy / "journal.jsonl").read_text().splitlines()]
    rounds = [line for line in lines if "event" not in line]
    for line, fid in zip(rounds, (9.0, 4.0, 7.0), strict=True):
        line["scores"] = {"fid": fid}
    (copy / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return copy


def arrays(content):
    with np.load(content) as found:
        return found["images"].tobytes(), found["labels"].tobytes()


@pytest.mark.parametrize("round", [None, "best", "last", 1])
def test_same_seed_same_images_over_http_on_the_command_line_and_in_python(run, tmp_path, round):
    command = ["generate", str(run), "--num", "150", "--seed", "5", "--out", str(tmp_path / "command.npz")]
    assert main._run(command + (["--round", str(round)] if round not in (None, "last") else []), debug=False) == 0
    with listening(run.parent) as client:
        requested = {"num": 150, "seed": 5, "format": "npz"} | ({"round": round} if round else {})
        answer = client.post("/api/runs/digits/generate", json=requested)
    assert answer.headers["X-Fedgan-Round"] == {None: "3", "best": "2", "last": "3", 1: "1"}[round]
    saved = (
        simulations.load(run)
        .generate(150, seed=5, round=None if round == "last" else round)
        .save(tmp_path / "python.npz")
    )
    of_command = arrays(tmp_path / "command.npz")
    assert arrays(io.BytesIO(answer.content)) == of_command
    assert arrays(saved) == of_command


def test_the_last_round_is_what_every_command_takes(run, tmp_path, capsys):
    last = digest(checkpoint.latest(run / "checkpoints").snapshot.state.published(ADVERSARIAL))
    assert main._run(["evaluate", str(run), "--num", "100", "--metrics", "score", "--json"], debug=False) == 0
    assert json.loads(capsys.readouterr().out)["round"] == 3
    out = str(tmp_path / "made")
    assert main._run(["export", str(run), "--to", "dataset", "--num", "10", "--out", out, "--json"], debug=False) == 0
    assert last in capsys.readouterr().out
    assert GenerateRequest().round == "last"
