"""Checks canaries: unlike any example, each by a fair coin of the run's seed, behind what the client holds."""

import pytest
import torch

from client import data
from client.site import Site
from common.audit import with_canaries
from common.config import RunConfig
from common.errors import ConfigError
from tests.unit.kinds import SMALL_SPECS, small_set

KINDS = pytest.mark.parametrize("kind", SMALL_SPECS)


@KINDS
def test_about_half_of_them_stand_behind_the_examples_in_order(kind):
    spec = SMALL_SPECS[kind]
    own = small_set(spec, 20)
    found, canaries = with_canaries(own, spec, 400, 0, 3)
    num = int(canaries.included.sum())
    assert 160 < num < 240  # 200 with a standard deviation of 10
    assert len(found) == 20 + num
    assert torch.equal(found.stored[:20], own.stored)
    assert torch.equal(found.labels[:20], own.labels)
    assert torch.equal(found.stored[20:], canaries.examples.stored[canaries.included])
    assert torch.equal(found.labels[20:], canaries.examples.labels[canaries.included])
    assert found.spec(10) == own.spec(10)
    assert set(canaries.examples.labels.tolist()) == set(range(10))


@KINDS
def test_they_are_unlike_each_other_and_follow_from_seed_and_client(kind):
    spec = SMALL_SPECS[kind]
    own = small_set(spec, 5)
    made = [with_canaries(own, spec, 50, *whose)[1] for whose in ((0, 0), (0, 0), (0, 1), (1, 0))]
    stored = [canaries.examples.stored.flatten(1) for canaries in made]
    assert len({tuple(row) for row in stored[0].tolist()}) == 50
    assert torch.equal(stored[0], stored[1])
    assert not torch.equal(stored[0], stored[2])
    assert not torch.equal(stored[0], stored[3])
    assert not torch.equal(made[0].included, made[2].included)
    assert spec.to_input(made[0].examples.stored[:2]).shape == (2, *spec.shape)


def test_a_simulated_client_trains_on_them_and_what_it_holds_out_stays_as_it_is():
    site = Site(partition_id=0, num_partitions=10)
    configs = [RunConfig.from_flat({"evaluation.holdout": 0.2, "evaluation.canaries": num}) for num in (0, 40)]
    without, given = (data.shard(config, site) for config in configs)
    assert without.canaries is None
    assert len(given.examples) == len(without.examples) + int(given.canaries.included.sum())
    assert torch.equal(given.held_out.stored, without.held_out.stored)
    assert given.digest() != without.digest()
    assert configs[0].identity() != configs[1].identity()
    assert "evaluation.canaries" not in configs[0].identity()  # so that earlier runs can be resumed


def test_a_site_with_examples_of_its_own_takes_none():
    site = Site(partition_id=0, num_partitions=10, data="npz:/x.npz")
    with pytest.raises(ConfigError, match="evaluation.canaries=5: a site's own examples take no canaries"):
        data.shard(RunConfig.from_flat({"evaluation.canaries": 5}), site)
