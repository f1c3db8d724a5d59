"""Which query a client answers, and what a query sees of it."""

import pytest
import torch

from client import data, queries
from client.site import Site
from common.config import RunConfig
from common.queries import QUERIES, RefusalError

CPU = torch.device("cpu")
SPLIT = {"partition": "shards per-client=2 examples-per-client=60"}


def config(**changes):
    return RunConfig.from_flat(SPLIT | {key.replace("__", ".").replace("_", "-"): v for key, v in changes.items()})


def site(**changes):
    return Site.of({"partition-id": 0, "num-partitions": 10} | {k.replace("_", "-"): v for k, v in changes.items()})


def respondent(**changes):
    return queries.respondent(config(), site(**changes), data.shard(config(), site()), CPU)


def test_a_query_sees_what_the_site_allows():
    silent = respondent(disclose_labels=False, disclose_moments=False, data="npz:/x.npz")
    assert (silent.own, silent.discloses_labels, silent.discloses_moments) == (True, False, False)
    open_one = respondent()
    assert (open_one.own, open_one.discloses_labels, open_one.discloses_moments) == (False, True, True)


def test_a_query_that_the_client_does_not_know_is_refused_by_name():
    with pytest.raises(RefusalError, match="it knows no query 'feature-moment'; did you mean 'feature-moments'"):
        queries.answer("feature-moment", {}, respondent())


def test_what_answers_is_the_tables(monkeypatch):
    class Echo:
        def answer(self, question, client):
            return {**question, "partition": torch.tensor(client.partition)}

    monkeypatch.setitem(QUERIES, "echo", Echo())
    assert queries.answer("echo", {"x": 1}, respondent()) == {"x": 1, "partition": torch.tensor(0)}


def test_held_out_images_are_a_share_of_each_class_and_nobody_trains_on_them():
    whole, part = (data.shard(config(evaluation__holdout=share), site()) for share in (0.0, 0.25))
    assert whole.held_out is None
    assert (len(part.examples), len(part.held_out)) == (45, 15)
    both = [sorted(images.flatten(1).sum(1).tolist()) for images in (part.examples.stored, part.held_out.stored)]
    assert sorted(both[0] + both[1]) == sorted(whole.examples.stored.flatten(1).sum(1).tolist())
    for k, count in enumerate(whole.examples.label_counts(10)):
        assert abs(part.held_out.label_counts(10)[k] - count / 4) < 1
    assert part.digest() != whole.digest()
