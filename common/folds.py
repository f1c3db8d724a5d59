"""Folds of cross-validation: which of each client's examples a run holds out, and scores the model on.

Each client's examples are divided into ``evaluation.folds`` parts by the run's seed, class by class as evenly as it
goes; ``evaluation.fold`` says which of them nobody trains on. Over all folds each example is held out once. Text goes
in pieces that stand together, as a row begins with the end of the row before it; a row that begins with the end of a
held-out one is left out of training, whoever holds it.

Pooled clients have the folds of the clients that they pool, so that a centralised run is scored on the same examples.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from common.config import RunConfig
from common.datasets.base import Dataset
from common.errors import ConfigError
from common.examples import ExampleSet
from common.partitioners import Indices, Partitioner, partition
from common.seeding import numpy_generator


@dataclass(frozen=True, eq=False)
class Fold:
    """What one client trains on, and what it holds out.

    Attributes:
        trained: Sorted indices, int64; at least one.
        held_out: Sorted indices, int64; may be empty where a client has fewer examples than there are folds.
    """

    trained: Indices
    held_out: Indices


def folded(examples: ExampleSet, parts: Sequence[Indices], config: RunConfig, first: int = 0) -> list[Fold]:
    """Returns the fold of each of several clients.

    Args:
        examples: Of all of them.
        parts: The indices of each client's, disjoint and sorted.
        config: Says how many folds there are, which is held out, and the seed.
        first: The partition id of the first of these clients; those of the others follow.
    """
    number, chosen = config.evaluation.folds, config.evaluation.fold
    labels = examples.labels.numpy()
    overlapping = examples.overlapping()
    held = np.zeros(len(labels), bool)
    for partition_id, part in enumerate(parts, start=first):
        if len(part) > 1:
            folds = _numbered(labels[part], number, bool(overlapping.any()), config.seed, partition_id)
            held[part[folds == chosen]] = True
    follows = overlapping & np.concatenate([[False], held[:-1]]) & ~held
    found = []
    for part in parts:
        trained = part[~held[part] & ~follows[part]]
        found.append(Fold(trained, part[held[part]]) if len(trained) else Fold(part, part[:0]))
    return found


def folds_of_split(partitioner: Partitioner, groups: Indices, examples: ExampleSet, config: RunConfig) -> list[Fold]:
    """Returns the fold of each simulated client.

    Args:
        partitioner: What makes the clients.
        groups: What it splits by, (N,).
        examples: Those that are split, (N, ...).
        config: Says how many clients and folds there are, which fold is held out, and the seed.
    """
    clients, seed = config.federation.num_clients, config.seed
    parts = partition(partitioner, groups, clients, seed)
    whole = folded(examples, partitioner.parts_with_folds(groups, clients, seed), config)
    is_trained, is_held = np.zeros(len(examples), bool), np.zeros(len(examples), bool)
    for fold in whole:
        is_trained[fold.trained], is_held[fold.held_out] = True, True
    return [Fold(part[is_trained[part]], part[is_held[part]]) for part in parts]


def groups_of(partitioner: Partitioner, whole: Dataset) -> Indices:
    """Returns what a partitioner splits a data set by, (N,): the labels of its training examples, or their sources.

    Raises:
        ConfigError: It has none.
    """
    name = partitioner.component_name()
    if not partitioner.splits_by_source:
        return whole.train.labels.numpy()
    if whole.train_sources is None:
        raise ConfigError(
            f'partition={name!r} splits by source, and {whole.name} does not name any: set partition="iid"'
        )
    return whole.train_sources


def with_fold_held_out(config: RunConfig, whole: Dataset) -> Dataset:
    """Returns a data set as simulated clients train on it in this fold, with what they hold out as its test part.

    What the data hold out themselves is in neither. The same data set where the configuration has no folds.

    Raises:
        ConfigError: It cannot be split so.
        DataError: No client has enough examples to hold one out.
    """
    if not config.evaluation.folds:
        return whole
    folds = folds_of_split(config.partitioner, groups_of(config.partitioner, whole), whole.train, config)
    trained = np.sort(np.concatenate([fold.trained for fold in folds]))
    held_out = np.sort(np.concatenate([fold.held_out for fold in folds]))
    sources = whole.train_sources
    return replace(
        whole,
        train=whole.train.view(trained),
        test=whole.train.subset(held_out),
        train_sources=None if sources is None else sources[trained],
        test_sources=None if sources is None else sources[held_out],
    )


def _numbered(labels: Indices, number: int, in_pieces: bool, seed: int, partition_id: int) -> Indices:
    """Returns the fold of each of a client's examples, (n,) from 1 to ``number``."""
    draw = numpy_generator(seed, "folds", partition_id)
    folds = np.empty(len(labels), np.int64)
    turn = int(draw.integers(number))  # no fold is the largest at every client
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        count = len(places)
        if in_pieces:
            order = draw.permutation(number)
            # fewer places than folds: one each, and the folds that get one take turns
            folds[places] = 1 + (
                order[np.arange(count) * number // count] if count >= number else (turn + np.arange(count)) % number
            )
        else:
            folds[draw.permutation(places)] = 1 + (turn + np.arange(count)) % number
        turn = (turn + count) % number
    return folds
