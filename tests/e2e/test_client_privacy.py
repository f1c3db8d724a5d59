"""A run that promises privacy of each client: what it draws, writes, refuses and says."""

import json

import pytest
import torch

from common.errors import ConfigError
from common.privacy.noisy_mean import NoisyMean
from server import checkpoint
from server.records import journal, run_directory
from server.records.privacy_ledger import ANY_CLIENT, PrivacyLedger
from server.records.run_directory import RunDirectory
from simulations.runtime.in_process import simulate

pytestmark = pytest.mark.usefixtures("no_reports")

PRIVATE = {"privacy": "client epsilon=8 most-noise=1e6", "federation__fraction": 1.0, "federation__num_rounds": 3}


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
