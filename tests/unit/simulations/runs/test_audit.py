"""What ``fedgan audit`` finds: runs that learned by heart are caught, those that learned nothing are not."""

import json

import pytest
import torch

from client import data
from common.errors import CheckpointError, ConfigError
from common.privacy.noise_source import SeededNoise
from server.records import run_directory
from server.records.report import write_report
from simulations.commands.main import _run
from simulations.runs.audit import audit
from simulations.runtime.in_process import simulate

HELD = {
    "federation__num-clients": 2,
    "federation__num-rounds": 1,
    "partition": "iid examples-per-client=80",
    "evaluation__holdout": 0.5,
    "evaluation__federated": False,
}
BY_HEART = {
    **HELD,
    "federation__num-clients": 1,
    "model": "mlp width=64 latent-size=8",
    "objective": "non-saturating critic-steps=5",
    "local__steps": 200,
    "local__batch-size": 32,
    "local__learning-rate": 0.002,
    "evaluation__canaries": 120,
}


@pytest.fixture
def made(small, no_reports):
    """Returns a maker of runs that are over."""

    def make(**changes):
        config = small(**changes)
        simulate(config, num_workers=1)
        return run_directory.resolve(config.output.dir)

    return make


@pytest.mark.slow
def test_a_run_that_learned_its_images_by_heart_is_caught_by_its_discriminator_and_by_its_canaries(made):
    run = made(**BY_HEART)
    found = json.loads(run.audit.read_bytes())
    assert found["clients"][0]["networks"]["auc-low"] > 0.55
    assert found["canaries"]["epsilon"] > 0.8
    assert found["canaries"]["num-canaries"] == 120
    assert found["missing"] == []
    assert run.read_summary()["scores"]["epsilon-bound"] == found["canaries"]["epsilon"]
    again = audit(run.path)
    assert again == found


def test_a_run_that_learned_nothing_gives_chance_and_the_command_says_so(made, capsys):
    run = made(**HELD, evaluation__canaries=60)
    found = json.loads(run.audit.read_bytes())
    for client in found["clients"]:
        for attack in ("nearest", "networks"):
            assert client[attack]["auc-low"] < 0.5 < client[attack]["auc-high"]
            assert client[attack]["num-others"] == 40
    assert found["canaries"]["epsilon"] < 0.5
    assert _run(["audit", str(run.path)], debug=True) == 0
    printed = capsys.readouterr().out
    assert "chance explains that" in printed
    assert "guesses about 120 canaries" in printed
    assert _run(["audit", str(run.path), "--json"], debug=True) == 0
    assert json.loads(capsys.readouterr().out)["clients"] == found["clients"]


def test_a_run_without_held_out_images_is_held_against_test_images_and_the_key_is_named(made):
    run = made(**HELD | {"evaluation__holdout": 0.0})
    assert not run.audit.exists()
    found = audit(run.path, num_samples=150)
    assert found["num-samples"] == 150
    assert [client["networks"]["num-members"] for client in found["clients"]] == [80, 80]
    assert all(client["networks"]["num-others"] > 100 for client in found["clients"])
    assert "evaluation.holdout=0.1" in found["missing"][0]
    assert len(found["missing"]) == 1
    scores = run.read_summary()["scores"]
    assert scores["networks-auc"] == [client["networks"]["auc"] for client in found["clients"]]
    assert "membership by networks, AUC" in write_report(run).read_text(encoding="utf-8")
    run.audit.write_text("{")
    with pytest.raises(CheckpointError, match="audit.json is not whole.*fedgan audit"):
        run.read_summary()


def test_what_only_clients_hold_is_not_attacked_and_that_is_said(made):
    found = json.loads(made(**HELD, algorithm="fedavg sync=generator").audit.read_bytes())
    assert all("nearest" in client and "networks" not in client for client in found["clients"])
    assert "holds no discriminator" in found["missing"][0]


def test_other_data_than_those_of_the_run_are_refused(made, monkeypatch):
    run = made(**HELD)
    monkeypatch.setattr(data.Shard, "digest", lambda shard: "of others")
    with pytest.raises(ConfigError, match="client 0 of this run trained on other examples than data.name"):
        audit(run.path)


PRIVATE = {
    **HELD,
    "federation__num-clients": 1,
    "partition": "iid examples-per-client=60",
    "evaluation__holdout": 0.0,
    "evaluation__canaries": 200,
    "model": "mlp width=64 latent-size=8",
    "objective": "non-saturating critic-steps=3",
    "local__steps": 60,
    "local__batch-size": 50,
    "local__learning-rate": 0.005,
    "local__fake-labels": "uniform",
    "privacy": "example epsilon=0.5 delta=1e-5",
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", [False, True])
def test_a_private_run_is_exposed_by_its_canaries_where_its_noise_was_removed(made, monkeypatch, capsys, fault):
    pytest.importorskip("dp_accounting")
    if fault:
        monkeypatch.setattr(SeededNoise, "normals", lambda source, *shape: torch.zeros(shape).double())
    run = made(**PRIVATE)
    assert not run.audit.exists()  # clients answer nothing under a promise
    code = _run(["audit", str(run.path)], debug=True)
    found = json.loads(run.audit.read_bytes())
    printed = capsys.readouterr()
    assert (found["promised-epsilon"], found["canaries"]["delta"]) == (0.5, 1e-5)
    assert (found["canaries"]["epsilon"] > 0.5) == fault == found["refuted"] == bool(code)
    assert ("epsilon=0.5 is refuted" in printed.out) == fault
    assert "the run's promise does not cover its figures" in printed.err
