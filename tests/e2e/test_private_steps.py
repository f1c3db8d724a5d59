"""Whole runs whose clients step on gradients with noise."""

import pytest

from common import tree
from common.errors import ConfigError
from server import checkpoint
from server.records import run_directory
from server.records.run_directory import RunDirectory
from simulations.runtime.in_process import simulate

pytest.importorskip("dp_accounting", reason="extra privacy")
pytestmark = pytest.mark.usefixtures("no_reports")

PRIVATE = {"privacy": "example epsilon=10", "evaluation.federated": False}


def weights(config, **options):
    simulate(config, **options)
    directory = RunDirectory(run_directory.resolve(config.output.dir).path)
    return tree.digest(checkpoint.latest(directory.checkpoints).snapshot.state.parameters)


def test_a_seed_gives_the_same_noise_on_one_worker_and_on_two_and_another_seed_another(small):
    one = weights(small("one", **PRIVATE), num_workers=1)
    assert weights(small("two", **PRIVATE), num_workers=2) == one
    assert weights(small("auto", **PRIVATE), num_workers=2, engine="fastest") == one
    assert weights(small("other", seed=1, **PRIVATE)) != one


def test_clients_with_batches_of_different_sizes_are_not_trained_together(small):
    with pytest.raises(ConfigError, match="--engine batched .* take --engine threads"):
        simulate(small(**PRIVATE), engine="batched")
