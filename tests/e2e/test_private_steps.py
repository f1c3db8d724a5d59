"""Whole runs whose clients step on gradients with noise."""

import pytest

from client.batched.private_fit import PrivateFit
from client.data import load
from common import tree
from common.errors import ConfigError
from server import checkpoint
from server.records import journal, run_directory
from server.records.privacy_ledger import PrivacyLedger
from server.records.run_directory import RunDirectory
from simulations.runtime.engine_trial import compare
from simulations.runtime.in_process import simulate

pytest.importorskip("dp_accounting", reason="extra privacy")
pytestmark = pytest.mark.usefixtures("no_reports")

PRIVATE = {"privacy": "example epsilon=10", "evaluation.federated": False, "federation.num-rounds": 2}


def run(config, **options):
    simulate(config, **options)
    return RunDirectory(run_directory.resolve(config.output.dir).path)


def digest(directory):
    return tree.digest(checkpoint.latest(directory.checkpoints).snapshot.state.parameters)


def weights(config, **options):
    return digest(run(config, **options))


def test_a_seed_gives_the_same_noise_on_one_worker_and_on_two_and_another_seed_another(small):
    one = weights(small("one", **PRIVATE), num_workers=1)
    assert weights(small("two", **PRIVATE), num_workers=2) == one
    assert weights(small("auto", **PRIVATE), num_workers=2, engine="auto") == one
    assert weights(small("other", seed=1, **PRIVATE)) != one


def test_private_clients_that_are_trained_together_spend_and_send_what_they_do_alone(small, monkeypatch):
    nums, fit = [], PrivateFit._train
    monkeypatch.setattr(PrivateFit, "_train", lambda own, average: nums.append(len(own._members)) or fit(own, average))
    together = run(small("together", **PRIVATE), engine="batched", num_rows=2, num_workers=2)
    assert nums
    assert set(nums) == {2}
    again = run(small("again", **PRIVATE), engine="batched", num_rows=2, num_workers=1)
    assert digest(again) == digest(together)
    alone = run(small("alone", **PRIVATE))
    ledgers = [PrivacyLedger.read(directory.privacy) for directory in (together, alone)]
    assert [book.largest() for book in ledgers] == [ledgers[1].largest()] * 2
    keys = [set(line["clients"][0]) for directory in (together, alone) for line in journal.read(directory.journal)]
    assert all(one == keys[0] for one in keys)


def test_the_fastest_way_to_train_is_found_on_private_steps(small, monkeypatch):
    tried, fit = [], PrivateFit.run
    monkeypatch.setattr(PrivateFit, "run", lambda own: tried.append(len(own._members)) or fit(own))
    config = small(**PRIVATE, local__batch_size=4)
    found = compare(config, load(config.data), num_clients=2, num_rows=2, steps=1, repeats=1)
    assert tried == [2, 2]
    assert min(found.loop_seconds, found.batched_seconds) > 0


def test_clients_that_take_no_steps_are_not_trained_together(small):
    sums = {"model": "class-gaussians", "objective": "moments", "algorithm": "dp-moments", "federation__num_rounds": 1}
    with pytest.raises(ConfigError, match="--engine batched .* take none: take --engine threads"):
        simulate(small(**sums), engine="batched")
    assert weights(small("one", **sums), engine="fastest") == weights(small("two", **sums))
