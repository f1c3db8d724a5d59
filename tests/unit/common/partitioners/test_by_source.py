"""A split by who wrote what."""

import numpy as np
import pytest
import torch

from common.components import parse
from common.datasets import Dataset
from common.errors import ConfigError
from common.examples import TextSet
from common.folds import groups_of
from common.partitioners import PARTITIONERS, partition

# of source 0: 1, of 1: 3, of 2: 2, of 4: 3 rows; no row is of source 3
SOURCES = np.array([1, 4, 0, 1, 2, 4, 2, 1, 4])


def split(text, num_clients, sources=SOURCES, seed=0):
    found = partition(parse("partition", PARTITIONERS, text), sources, num_clients, seed)
    return [part.tolist() for part in found]


def test_each_client_holds_one_source_in_the_order_of_the_data():
    assert split("by-source", 4) == [[2], [0, 3, 7], [4, 6], [1, 5, 8]]
    assert split("by-source", 4, seed=5) == split("by-source", 4)


@pytest.mark.parametrize(("num_clients", "expected"), [(1, [1]), (2, [1, 4]), (3, [1, 2, 4])])
def test_with_fewer_clients_those_with_most_rows_have_one_and_the_others_are_left_out(num_clients, expected):
    assert split("by-source", num_clients) == [np.flatnonzero(source == SOURCES).tolist() for source in expected]


def test_a_source_has_a_client_only_with_enough_rows():
    assert split("by-source min-examples=3", 2) == [[0, 3, 7], [1, 5, 8]]
    with pytest.raises(
        ConfigError, match=r"min-examples=3': 2 sources have as many examples.*federation.num-clients=2 or fewer"
    ):
        split("by-source min-examples=3", 3)
    with pytest.raises(
        ConfigError, match=r"4 sources have as many examples, a client each: set federation.num-clients=4"
    ):
        split("by-source", 5)


def test_each_client_keeps_at_most_so_many_drawn_by_the_seed():
    whole, capped = split("by-source", 4), split("by-source examples-per-client=2", 4)
    assert [len(part) for part in capped] == [1, 2, 2, 2]
    assert all(set(part) <= set(all_of_it) for part, all_of_it in zip(capped, whole, strict=True))
    assert any(split("by-source examples-per-client=2", 4, seed=seed) != capped for seed in range(1, 9))


def test_what_clients_of_a_federation_hold_is_pooled():
    assert split("pooled of=by-source clients=3", 1) == [[0, 1, 3, 4, 5, 6, 7, 8]]
    assert split("pooled of=by-source clients=4", 2) == [[0, 2, 3, 7], [1, 4, 5, 6, 8]]
    assert parse("partition", PARTITIONERS, "pooled of=by-source").splits_by_source
    assert not parse("partition", PARTITIONERS, "pooled of=iid").splits_by_source


def rows(num):
    return TextSet(torch.zeros(num, 4, dtype=torch.int32), torch.arange(num) % 2, 1, "\0")


def test_it_goes_by_the_sources_of_the_data_and_others_by_the_labels():
    by_source, by_label = (parse("partition", PARTITIONERS, text) for text in ("by-source", "shards"))
    names = tuple("abcde")
    known = Dataset("plays", rows(9), rows(1), ("x", "y"), train_sources=SOURCES, source_names=names)
    assert groups_of(by_source, known).tolist() == SOURCES.tolist()
    assert groups_of(by_label, known).tolist() == known.train.labels.tolist()
    unknown = Dataset("notes", rows(9), rows(1), ("x", "y"))
    with pytest.raises(ConfigError, match="'by-source' splits by source, and notes does not name any: set partition="):
        groups_of(by_source, unknown)
