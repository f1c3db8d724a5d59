"""What data hold out of each source, at the clients that train on it."""

import numpy as np
import pytest
import torch

from client import data
from client.site import Site
from common.config import RunConfig
from common.datasets import DATASETS
from common.examples.text import unpack
from tests.unit.families.verses import ROLES, Verses


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(DATASETS, "verses", Verses)


def shards(partition, num_clients):
    flat = {"data.name": "verses context=16", "partition": partition, "federation.num-clients": num_clients}
    config = RunConfig.from_flat(flat)
    sites = (Site.of({"partition-id": k, "num-partitions": num_clients}) for k in range(num_clients))
    return data.load(config.data), [data.shard(config, site) for site in sites]


def rows(parts):
    return sorted(tuple(row) for part in parts for row in part.stored.tolist())


@pytest.mark.parametrize(("partition", "num"), [("by-source", 4), ("iid", 7), ("dirichlet alpha=0.3", 3)])
def test_every_held_out_row_is_at_one_client_that_trains_on_its_source(partition, num):
    whole, found = shards(partition, num)
    assert rows(shard.test for shard in found) == rows([whole.test])
    assert all(len(shard.test) for shard in found)
    if partition == "by-source":
        for role, shard in enumerate(found):
            assert rows([shard.test]) == rows([whole.test.subset(np.flatnonzero(whole.test_sources == role))])


def test_what_is_held_out_of_a_source_that_nobody_trains_on_is_nowhere():
    whole, found = shards("by-source", 2)
    said = ["".join(unpack(shard.examples.stored, whole.spec)) for shard in found]
    trained = [place for place, role in enumerate(ROLES) if any(role.lower() in texts for texts in said)]
    assert len(trained) == 2
    kept = np.flatnonzero(np.isin(whole.test_sources, trained))
    assert rows(shard.test for shard in found) == rows([whole.test.subset(kept)])


def test_images_name_no_sources():
    config = RunConfig.from_flat({"federation.num-clients": 2})
    assert data.shard(config, Site.of({"partition-id": 0, "num-partitions": 2})).test is None


@pytest.mark.parametrize("kept", [False, True])
def test_a_site_holds_the_end_of_its_own_texts_out(tmp_path, kept):
    (tmp_path / "texts").mkdir()
    where = {"partition-id": 0, "num-partitions": 1, "data": f"verses context=16:{tmp_path / 'texts'}"}
    site = Site.of(where | ({"state-path": str(tmp_path / "state")} if kept else {}))
    config = RunConfig.from_flat({"federation.num-clients": 1})
    whole = Verses(context=16).load(None)
    for _ in range(2):
        shard = data.shard(config, site)
        assert torch.equal(shard.examples.stored, whole.train.stored)
        assert torch.equal(shard.test.stored, whole.test.stored)
        assert torch.equal(shard.test.labels, whole.test.labels)
        assert shard.test.spec(2) == whole.spec
        data._own.cache_clear()
    assert len(list((tmp_path / "state").glob("data/*.npy"))) == (4 if kept else 0)
