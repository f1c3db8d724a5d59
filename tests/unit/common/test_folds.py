"""Folds: each example held out once, by seed, class by class; text in pieces that nobody else trains on the end of."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies

from client import data
from client.site import Site
from common.config import RunConfig
from common.datasets import DATASETS
from common.errors import ConfigError
from common.examples import ImageSet
from common.folds import folded, folds_of_split, groups_of, with_fold_held_out
from tests.unit.families.verses import Verses

LABELS = strategies.lists(strategies.integers(0, 3), min_size=2, max_size=40)
SPLIT = "dirichlet alpha=0.3 examples-per-client=90"
TINY = {"data.name": "mnist-10k", "partition": SPLIT, "federation.num-clients": 4}


def config(folds, fold, **changes):
    values = TINY | {"evaluation.folds": folds, "evaluation.fold": fold}
    return RunConfig.from_flat(values | {key.replace("__", "."): value for key, value in changes.items()})


def shard(run, partition=0):
    num = run.federation.num_clients
    return data.shard(run, Site.of({"partition-id": partition, "num-partitions": num}))


def images(labels):
    return ImageSet(torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8), torch.tensor(labels))


@settings(max_examples=30)
@given(LABELS, strategies.integers(2, 6), strategies.integers(0, 5))
def test_each_example_is_held_out_once_and_classes_are_divided_evenly(labels, folds, partition):
    examples, everything = images(labels), np.arange(len(labels))
    parts = [folded(examples, [everything], config(folds, k), partition)[0] for k in range(1, folds + 1)]
    assert sorted(np.concatenate([part.held_out for part in parts])) == everything.tolist()
    for part in parts:
        assert sorted([*part.trained, *part.held_out]) == everything.tolist()
    for label in set(labels):
        counts = [int((examples.labels.numpy()[part.held_out] == label).sum()) for part in parts]
        assert max(counts) - min(counts) <= 1
    sizes = [len(part.held_out) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_folds_are_those_of_the_seed_and_the_client():
    examples, parts = images([0, 1] * 30), [np.arange(30), np.arange(30, 60)]
    first, other = folded(examples, parts, config(3, 1))
    again = folded(examples, parts, config(3, 1))[0]
    assert np.array_equal(first.held_out, again.held_out)
    assert not np.array_equal(first.held_out, other.held_out - 30)
    assert not np.array_equal(first.held_out, folded(examples, parts, config(3, 1, seed=1))[0].held_out)
    assert np.array_equal(other.held_out - 30, folded(examples, parts[:1], config(3, 1), first=1)[0].held_out)


def test_a_client_with_one_example_trains_on_it_in_every_fold():
    for fold in (1, 2):
        (only,) = folded(images([3]), [np.arange(1)], config(2, fold))
        assert (only.trained.tolist(), only.held_out.tolist()) == ([0], [])


def test_the_server_scores_on_what_all_clients_hold_out():
    run = config(5, 2)
    whole = data.load(run.data)
    shards = [shard(run, k) for k in range(4)]
    scored = with_fold_held_out(run, whole)
    assert len(scored.test) == sum(len(it.held_out) for it in shards) == 72
    assert len(scored.train) == sum(len(it.examples) for it in shards)
    held = {tuple(row) for it in shards for row in it.held_out.stored.flatten(1).tolist()}
    assert held == {tuple(row) for row in scored.test.stored.flatten(1).tolist()}
    assert shards[0].test is None  # images name no sources
    assert with_fold_held_out(RunConfig.from_flat(TINY), whole) is whole


def test_pooled_clients_hold_out_what_those_hold_out_that_they_pool():
    run = config(5, 2)
    flat = run.flat() | {"partition": f"pooled of='{SPLIT}' clients=4", "federation.num-clients": 1}
    pooled = RunConfig.from_flat(flat)
    whole = data.load(run.data)
    apart, together = (with_fold_held_out(it, whole) for it in (run, pooled))
    assert torch.equal(apart.test.stored, together.test.stored)
    assert torch.equal(apart.train.stored, together.train.stored)


@pytest.mark.parametrize("partition", ["by-source", "iid"])
def test_nobody_trains_on_the_end_of_a_row_of_text_that_is_held_out(partition, monkeypatch):
    monkeypatch.setitem(DATASETS, "verses", Verses)
    changes = {"data.name": "verses context=16", "partition": partition, "federation.num-clients": 3}
    held, left_out = [], set()
    for fold in range(1, 4):
        run = RunConfig.from_flat(changes | {"evaluation.folds": 3, "evaluation.fold": fold})
        whole = data.load(run.data)
        found = folds_of_split(run.partitioner, groups_of(run.partitioner, whole), whole.train, run)
        out = np.concatenate([it.held_out for it in found])
        trained = set(np.concatenate([it.trained for it in found]).tolist())
        after = {int(row) + 1 for row in out if row + 1 < len(whole.train) and whole.train.overlapping()[row + 1]}
        left_out |= after - set(out.tolist())
        assert not after & trained
        assert len(trained) > len(whole.train) / 3
        held += out.tolist()
        shards = [shard(run, k) for k in range(3)]
        assert [len(it.examples) for it in shards] == [len(it.trained) for it in found]
        assert all(it.test is it.held_out for it in shards)
    assert left_out
    given = data.split(RunConfig.from_flat(changes))
    assert sorted(held) == sorted(np.concatenate(given).tolist())  # each row once over the folds


def test_a_site_divides_its_own_examples(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "verses", Verses)
    (tmp_path / "texts").mkdir()
    site = Site.of({"partition-id": 1, "num-partitions": 2, "data": f"verses context=16:{tmp_path / 'texts'}"})
    found = [data.shard(config(2, fold), site) for fold in (1, 2)]
    num = len(Verses(context=16).load(None).train)
    assert sum(len(it.held_out) for it in found) == num
    assert all(it.test is it.held_out and len(it.examples) + len(it.held_out) <= num for it in found)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"evaluation.folds": 1}, "evaluation.folds=1 holds everything out"),
        ({"evaluation.folds": 3, "evaluation.fold": 4}, "evaluation.fold=4: evaluation.folds=3 has 1 to 3"),
        ({"evaluation.fold": 2}, "has none: set evaluation.folds"),
        ({"evaluation.folds": 3, "evaluation.holdout": 0.1}, "set one of them"),
        ({"evaluation.folds": 3, "evaluation.canaries": 5}, "set one of them"),
    ],
)
def test_folds_that_mean_nothing_are_refused(values, words):
    with pytest.raises(ConfigError, match=words):
        RunConfig.from_flat(values)


def test_a_run_goes_on_in_its_own_fold_alone():
    assert config(3, 1).identity() != config(3, 2).identity()
    assert "evaluation.folds" not in RunConfig().identity()
