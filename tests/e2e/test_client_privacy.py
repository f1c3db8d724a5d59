"""A run that promises privacy of each client: what it draws, writes, refuses and says."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import run_on

from client import app as client_app
from client.app import app
from client.batched.fit import BatchedFit
from common.errors import ConfigError, FederationError
from common.privacy.noise_source import SystemNoise
from common.privacy.noisy_mean import NoisyMean
from common.seeding import numpy_generator
from server import checkpoint
from server.records import journal, privacy_words, run_directory
from server.records.privacy_accounts import ANY_CLIENT
from server.records.privacy_ledger import PrivacyLedger
from server.records.run_directory import RunDirectory
from server.strategy import FederatedStrategy
from simulations.runtime.in_process import InProcessGrid, simulate

pytestmark = pytest.mark.usefixtures("no_reports")

PRIVATE = {"privacy": "client epsilon=8 most-noise=1e6", "federation__fraction": 1.0, "federation__num_rounds": 3}


def own_data(path, seed):
    images = numpy_generator(seed, "own").integers(0, 256, (16, 28, 28), dtype=np.uint8)
    np.savez(path, images=images, labels=np.arange(16) % 10)
    return {"data": f"npz:{path}"}


def run(config, num_workers=1):
    simulate(config, num_workers=num_workers)
    return RunDirectory(run_directory.resolve(config.output.dir).path)


def weights(directory):
    found = checkpoint.latest(directory.checkpoints)
    return {key: value.clone() for key, value in found.snapshot.state.parameters.items()}


def test_a_run_spends_what_it_promises_and_says_nothing_of_single_clients(small):
    directory = run(small(**PRIVATE))
    lines = journal.read(directory.journal)
    spent = [line["privacy"]["epsilon"] for line in lines]
    assert spent == sorted(spent)
    assert 7.9 < spent[-1] <= 8
    said = json.loads(directory.summary.read_text())["privacy"]
    assert (said["unit"], said["epsilon"], said["clients"][0]["partition"]) == ("client", spent[-1], None)
    for line in lines:
        assert all(client.keys() <= {"partition", "num-examples", "examples", "seconds"} for client in line["clients"])
    ledger = PrivacyLedger.read(directory.privacy)
    assert (ledger.releases(ANY_CLIENT), ledger.unit) == (3, "client")
    clients = json.loads(directory.partition.read_text())["clients"]
    assert all(client["label-counts"] is None and not client["data-digest"] for client in clients)


def test_the_noise_is_in_the_weights_and_follows_from_the_seed_whatever_the_workers(small, monkeypatch):
    noisy = run(small("one", **PRIVATE))
    again = run(small("two", **PRIVATE), num_workers=2)
    assert all(torch.equal(value, weights(again)[key]) for key, value in weights(noisy).items())
    monkeypatch.setattr("common.privacy.noise_source.SeededNoise.normals", lambda self, *s: torch.zeros(s).double())
    bare = weights(run(small("three", **PRIVATE)))
    assert not any(torch.equal(value, bare[key]) for key, value in weights(noisy).items())


def test_clients_that_are_trained_together_get_the_same_noise_and_spend_as_much(small, monkeypatch):
    nums, fit = [], BatchedFit.run
    monkeypatch.setattr(BatchedFit, "run", lambda own: nums.append(len(own._members)) or fit(own))
    folders = []
    for name, engine in (("alone", "threads"), ("together", "batched")):
        # One round: noise follows from the weights that a round starts from, to the bit. Adam makes whole steps of
        # rounding errors.
        config = small(name, **PRIVATE | {"federation__num_rounds": 1}, optimiser="sgd")
        simulate(config, num_workers=1, engine=engine)
        folders.append(RunDirectory(run_directory.resolve(config.output.dir).path))
    assert set(nums) == {4}
    alone, together = map(weights, folders)
    for key, value in alone.items():
        torch.testing.assert_close(together[key], value, rtol=1e-4, atol=1e-4 * float(value.abs().max()))
    one, other = (json.loads(folder.summary.read_text())["privacy"] for folder in folders)
    assert one == other


def test_a_server_whose_clients_have_data_of_their_own_draws_from_its_system(small, tmp_path, monkeypatch):
    found, drawn, uniforms = [], [], SystemNoise.uniforms
    monkeypatch.setattr(SystemNoise, "uniforms", lambda self, num: drawn.append(num) or uniforms(self, num))
    for name in ("one", "other"):
        changes = PRIVATE | {"federation__num_clients": 2, "federation__num_rounds": 1, "partition": "iid"}
        config = small(name, **changes)
        grid = InProcessGrid(app, config.flat(), 2, 1)
        grid._node_configs[1] |= own_data(tmp_path / "own.npz", 0)  # of one of them
        found.append(run_on(grid, config))
    one, other = map(weights, found)
    assert all(len(drawn) > 0 and not torch.equal(value, other[key]) for key, value in one.items())  # one seed
    said = json.loads(found[0].summary.read_text())["privacy"]
    assert [client["noise"] for client in said["clients"]] == ["system"]
    assert "the server's own system" in privacy_words.sentence(said)


def test_cohorts_are_drawn_by_chance_and_the_mean_counts_all_that_might_have_been(small, monkeypatch):
    sizes = []
    mean = NoisyMean.of
    monkeypatch.setattr(
        NoisyMean, "of", lambda self, trees, origin: sizes.append(len(trees)) or mean(self, trees, origin)
    )
    changes = PRIVATE | {"federation__num_clients": 24, "federation__fraction": 0.6, "federation__num_rounds": 4}
    directory = run(small(**changes, partition="iid"))
    cohorts = [[client["partition"] for client in line["clients"]] for line in journal.read(directory.journal)]
    assert sizes == list(map(len, cohorts))
    assert len(set(map(tuple, cohorts))) == 4
    assert len(set(sizes)) > 1


def test_a_round_that_is_repeated_with_other_clients_is_another_release(small, monkeypatch):
    class KilledError(Exception):
        pass

    trained, aggregate, is_first = client_app._trained, FederatedStrategy.aggregate_train, [True]

    def without_one(config, site, *rest):
        if is_first[0] and site.partition_id == 1:
            raise FederationError("out of reach")
        return trained(config, site, *rest)

    def then_end(*arguments):
        aggregate(*arguments)
        raise KilledError

    private = PRIVATE | {"privacy": "client epsilon=8 most-noise=1e6 spare-rounds=1"}
    monkeypatch.setattr(client_app, "_trained", without_one)
    with monkeypatch.context() as patch:
        patch.setattr(FederatedStrategy, "aggregate_train", then_end)
        with pytest.raises(KilledError):
            run(small(**private))
    is_first[0] = False
    directory = run(small(**private, output__resume=True))
    ledger = PrivacyLedger.read(directory.privacy)
    assert (ledger.releases(ANY_CLIENT), len(journal.read(directory.journal))) == (4, 3)
    assert ledger.largest() <= 8


def test_what_would_break_the_promise_is_refused(small):
    with pytest.raises(ConfigError, match=r"as long as the longest update .* it takes about [0-9,]+ clients"):
        run(small(privacy="client"))
    for key, value, way_out in [
        ("algorithm", "scaffold", "take 'fedavg'"),
        ("algorithm", "fedavg ema-steps=true", "leave out ema-steps"),
        ("aggregate", "median", "take 'mean'"),
        ("weighting", "mmd", "take 'uniform'"),
        ("transforms", "clip norm=1.0 | noise", "leave out clip and noise"),
        ("model", "dcgan norm=batch", "take norm=group"),
        ("evaluation__holdout", 0.1, "set evaluation.holdout=0"),
    ]:
        with pytest.raises(ConfigError, match=way_out):
            small(**PRIVATE, **{key: value})
        small(**{key: value})
    small(**PRIVATE, algorithm="fedopt optimizer=adam lr=0.01")
    small(**PRIVATE, algorithm="fedprox mu=0.1")
