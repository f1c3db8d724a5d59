"""What ``fedgan audit`` finds: runs that learned by heart are caught, those that learned nothing are not."""

import json
from dataclasses import replace

import pytest

from client import data
from common.errors import ConfigError
from server.records.run_directory import RunDirectory
from simulations.commands import main
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
    "model": "mlp width=64 latent-size=8",
    "local__steps": 300,
    "local__batch-size": 16,
    "local__learning-rate": 0.002,
    "evaluation__canaries": 60,
}


def run_of(config):
    simulate(config, num_workers=1)
    return RunDirectory(config_path(config))


def config_path(config):
    return RunDirectory(__import__("pathlib").Path(config.output.dir)).path


@pytest.fixture(scope="module")
def unlearned(tmp_path_factory):
    return None


@pytest.mark.slow
@pytest.mark.usefixtures("no_reports")
def test_a_run_that_learned_its_images_by_heart_is_caught_by_its_discriminator_and_by_its_canaries(small):
    run = run_of(small(**BY_HEART))
    found = json.loads(run.audit.read_bytes())
    assert [client["networks"]["auc-low"] > 0.6 for client in found["clients"]] == [True, True]
    assert found["canaries"]["epsilon"] > 1
    assert found["canaries"]["num-canaries"] == 120
    assert found["missing"] == []
    assert run.read_summary()["scores"]["epsilon-bound"] == found["canaries"]["epsilon"]
    again = audit(run.path)
    assert again["clients"] == found["clients"]
    assert again["canaries"] == found["canaries"]


@pytest.mark.usefixtures("no_reports")
def test_a_run_that_learned_nothing_gives_chance(small):
    run = run_of(small(**HELD, evaluation__canaries=60))
    found = json.loads(run.audit.read_bytes())
    for client in found["clients"]:
        for attack in ("nearest", "networks"):
            assert client[attack]["auc-low"] < 0.5 < client[attack]["auc-high"]
            assert client[attack]["num-others"] == 40
    assert found["canaries"]["epsilon"] < 0.5
