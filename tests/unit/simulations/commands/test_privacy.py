"""``fedgan privacy``, and what ``--dry-run`` says of a private run."""

import json
import tomllib

import pytest
from typer.testing import CliRunner

from common.config import RunConfig
from server.records.privacy_ledger import PrivacyLedger
from simulations.commands.main import app
from simulations.runs.privacy_plan import plan_lines
from tests.unit.server.records.test_privacy_ledger import CONFIG, answer

PRIVATE = {"privacy": "example epsilon=10 batch-size=1000", "local.fake-labels": "uniform"}


def said(*arguments):
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.fixture
def private(tmp_path):
    (tmp_path / "config.toml").write_text(CONFIG.toml(), encoding="utf-8")
    ledger = PrivacyLedger.begun(tmp_path / "privacy.jsonl", CONFIG, {k: answer(k, "seed") for k in (0, 1)})
    ledger.charge(1, 0, {0: "w", 1: "w"})
    ledger.charge(2, 0, {0: "v"})
    return tmp_path, ledger


def test_lists_releases_with_their_cost_and_what_is_switched_off(private):
    run, ledger = private
    words = said("privacy", str(run))
    assert f"epsilon {ledger.spent(0):.3g} of 10" in words
    assert "switched off: numbers of examples of each class" in words
    rows = [line.split()[:3] for line in words.splitlines() if line.strip().startswith(("0 ", "1 "))]
    assert rows == [[str(k), f"{ledger.spent(k):.3f}", str(2 - k)] for k in (0, 1)]


def test_says_the_same_as_json(private):
    run, ledger = private
    found = json.loads(said("privacy", str(run), "--json"))
    assert found["spent"] == ledger.summary()
    assert {"what", "mechanism", "cost"} == set(found["releases"][0])


def test_says_plainly_that_nothing_is_promised(tmp_path):
    (tmp_path / "config.toml").write_text(RunConfig().toml(), encoding="utf-8")
    words = said("privacy", str(tmp_path))
    assert "Nothing is promised: no bound is known on what left the clients." in words
    assert json.loads(said("privacy", str(tmp_path), "--json"))["spent"] is None


def test_a_dry_run_prints_the_plan_beside_a_configuration_that_can_be_read_back():
    out = said("simulate", "--dry-run", "-c", " ".join(f"{k}={json.dumps(v)}" for k, v in PRIVATE.items()))
    assert tomllib.loads(out)["privacy"].startswith("example epsilon=10")
    (row,) = [line.split() for line in out.splitlines() if line.startswith("#") and " 1.0000 " in line]
    config = RunConfig.from_flat(PRIVATE)
    plan = config.privacy_plan(int(row[2].replace(",", "")))
    assert row[4] == f"{plan.mechanism.noise_multiplier:.3f}"
    assert row[6] == f"{plan.spent(plan.rounds):.3f}" == "10.000"


@pytest.mark.parametrize("promise", [PRIVATE["privacy"], "client epsilon=8 most-noise=1e6"])
def test_a_dry_run_says_what_repeated_rounds_cost_and_has_the_spare_ones_in_its_epsilon(promise):
    for spare in (0, 3):
        changes = {"privacy": f"{promise} spare-rounds={spare}", "federation.num-rounds": 5, "guard.rollbacks": 2}
        config = RunConfig.from_flat(PRIVATE | changes)
        lines = list(plan_lines(config))
        plan = config.plan_of_clients() if "client" in promise else config.privacy_plan(800)
        assert plan.rounds == 5 + spare
        assert plan.spent(plan.rounds) <= config.privacy_component.epsilon < plan.spent(plan.rounds + 1)
        assert any("5 rounds and 3 spare ones" in line for line in lines) == bool(spare)
        assert any("guard.rollbacks=2: 2 at most" in line for line in lines)
        assert any("the run ends earlier by as many: spare-rounds= in privacy" in line for line in lines) != bool(spare)


def test_a_plan_of_data_that_are_not_here_says_so(tmp_path):
    config = RunConfig.from_flat(PRIVATE | {"data.name": "mnist", "data.root": str(tmp_path)})
    assert any("not known before the run, as the data cannot be read here" in line for line in plan_lines(config))
    assert list(plan_lines(RunConfig())) == []
