"""What was released is known before tasks are sent, is charged once where it is the same, and is never forgotten."""

import json

import pytest

from common.config import RunConfig
from common.errors import CheckpointError, FederationError, OtherRunError
from common.examples import ImageSpec
from common.privacy.accounting import gaussian_epsilon
from common.wire import SEED, SYSTEM, RollCall
from server.records import privacy_ledger
from server.records.privacy_ledger import PrivacyLedger, SpentError

CONFIG = RunConfig.from_flat(
    {
        "privacy": "example epsilon=10 batch-size=1000",  # all that a client has: no sampling
        "local.fake-labels": "uniform",
        "local.steps": 1,
        "federation.num-rounds": 3,
        "federation.num-clients": 2,
    }
)


def answer(partition, noise):
    return RollCall(partition, 2, 40, None, ImageSpec(1, 28, 1), ("all",), "", "f", noise=noise)


def begun(path, noise=SEED, config=CONFIG):
    return PrivacyLedger.begun(path, config, {k: answer(k, noise) for k in (0, 1)})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "privacy.jsonl"


def test_without_a_promise_there_is_none(path):
    plain = RunConfig.from_flat({"federation.num-clients": 2})
    assert PrivacyLedger.begun(path, plain, {k: answer(k, "") for k in (0, 1)}) is None
    assert not path.exists()


def test_a_client_that_adds_no_noise_is_named(path):
    with pytest.raises(FederationError, match=r"partition 0, partition 1: no noise"):
        begun(path, noise="")


def test_each_round_costs_what_the_formula_says_and_all_of_them_the_budget(path):
    ledger = begun(path)
    noise = ledger.accounts[0].plan.mechanism.noise_multiplier
    for round in (1, 2, 3):
        ledger.charge(round, 0, {0: f"w{round}"})
        assert ledger.spent(0) == pytest.approx(gaussian_epsilon(round**0.5 / noise, 1e-5), rel=1e-9)
    assert 9.99 < ledger.spent(0) <= 10
    assert (ledger.spent(1), ledger.largest(), ledger.largest_of_few()) == (0.0, ledger.spent(0), ledger.spent(0))


def test_the_same_task_is_one_release_where_noise_follows_from_the_seed(path):
    ledger = begun(path)
    for _ in range(3):
        ledger.charge(1, 0, {0: "w", 1: "w"})
    assert (ledger.releases(0), ledger.num_lines) == (1, 1)
    ledger.charge(1, 0, {0: "w", 1: "other weights"})
    ledger.charge(1, 1, {0: "w"})  # after a rollback: other noise
    assert (ledger.releases(0), ledger.releases(1)) == (2, 2)


def test_a_round_whose_replies_were_incomplete_is_another_release_when_it_is_repeated(path):
    ledger = begun(path)
    assert ledger.charge(1, 0, {0: "w"})
    ledger.charge_incomplete(1, 0, {0: "w"}, repeats=False)
    assert ledger.releases(0) == 1
    assert PrivacyLedger.read(path).charge(1, 0, {0: "w"})  # others may answer, so it is paid for again
    ledger = PrivacyLedger.read(path)
    assert not ledger.charge(1, 0, {0: "w"})
    assert ledger.releases(0) == 2
    ledger.charge_incomplete(1, 0, {0: "w"}, repeats=True)
    assert ledger.releases(0) == PrivacyLedger.read(path).releases(0) == 3
    assert not ledger.charge(2, 0, {})
    before = path.read_bytes()
    with pytest.raises(SpentError):
        ledger.charge_incomplete(1, 0, {0: "w"}, repeats=True)
    assert path.read_bytes() == before


def test_each_task_is_another_release_where_noise_comes_from_the_system(path):
    ledger = begun(path, SYSTEM)
    for _ in range(2):
        ledger.charge(1, 0, {0: "w"})
    assert (ledger.releases(0), ledger.from_system) == (2, True)


def test_nothing_beyond_the_budget_is_released_or_noted(path):
    ledger = begun(path)
    for round in (1, 2, 3):
        ledger.charge(round, 0, {0: f"w{round}", 1: f"w{round}"})
    before = path.read_bytes()
    with pytest.raises(SpentError, match=r"round 3 would bring what partition 0 .* epsilon 12, .* promises 10"):
        ledger.charge(3, 1, {0: "w3", 1: "w3"})
    assert path.read_bytes() == before
    ledger.charge(3, 0, {0: "w3", 1: "w3"})  # which was released before


def test_is_on_disk_before_it_is_known(path, monkeypatch):
    ledger = begun(path)

    def fail(*arguments):
        raise OSError("no room")

    monkeypatch.setattr(privacy_ledger, "append_line", fail)
    with pytest.raises(OSError, match="no room"):
        ledger.charge(1, 0, {0: "w"})
    assert ledger.releases(0) == 0


def test_goes_on_where_it_was_also_after_a_torn_line(path):
    begun(path).charge(1, 0, {0: "w", 1: "w"})
    path.write_bytes(path.read_bytes() + b'{"round": 2, "rol')
    ledger = begun(path)
    ledger.charge(1, 0, {0: "w", 1: "w"})
    ledger.charge(2, 0, {0: "v"})
    again = PrivacyLedger.read(path)
    assert [again.releases(k) for k in (0, 1)] == [2, 1]
    assert again.spent(0) == ledger.spent(0)


def test_an_ended_run_says_so_when_it_is_read_again(path):
    ledger = begun(path)
    ledger.charge(1, 0, {0: "w"})
    ledger.end(1, "enough")
    ledger.end(1, "enough")
    again = PrivacyLedger.read(path)
    assert (again.why_ended(1), again.why_ended(2), again.num_lines) == ("enough", None, 2)


def test_a_damaged_one_is_refused(path):
    begun(path).charge(1, 0, {0: "w"})
    path.write_text(path.read_text().replace('"rollbacks"', '"rollback"'))
    with pytest.raises(CheckpointError, match="is damaged, and nothing else says what the run has released"):
        PrivacyLedger.read(path)


def test_a_forgotten_release_is_found_out(path):
    ledger = begun(path)
    ledger.charge(1, 0, {0: "w"})
    ledger.require(1, 1)
    with pytest.raises(CheckpointError, match="was forgotten"):
        ledger.require(2, 2)
    with pytest.raises(CheckpointError, match="has 0 lines"):
        begun(path.with_name("new.jsonl")).require(0, 1)


@pytest.mark.parametrize("changes", [{"privacy": "example epsilon=20 batch-size=1000"}, {"federation.num-rounds": 4}])
def test_what_was_released_under_another_promise_is_not_taken_over(path, changes):
    begun(path).charge(1, 0, {0: "w"})
    with pytest.raises(OtherRunError, match="another run released"):
        begun(path, config=CONFIG.replaced(changes))


def test_one_of_a_run_that_released_nothing_begins_anew(path):
    begun(path)
    assert begun(path, config=CONFIG.replaced({"federation.num-rounds": 4})).accounts[0].plan.rounds == 4


def test_its_summary_says_what_epsilon_is_about(path):
    ledger = begun(path)
    ledger.charge(1, 0, {0: "w"})
    said = ledger.summary()
    assert json.loads(json.dumps(said)) == said
    assert said["neighbours"].startswith("one example of one client added or removed")
    assert said["epsilon"] == said["clients"][0]["epsilon"] == ledger.spent(0)
    assert [(row["releases"], row["rate"], row["noise"]) for row in said["clients"]] == [(1, 1.0, SEED), (0, 1.0, SEED)]
