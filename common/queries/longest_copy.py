"""Whether the published model repeats a client's texts: the longest run of characters that it copies."""

import functools
import threading
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch

from common.config import RunConfig
from common.errors import DataError
from common.examples import TextSpec
from common.examples.text import unpack
from common.generation import balanced_labels, generate, load_sampler
from common.metrics.longest_copy import LONGEST_COPY, Runs, copy_scores
from common.queries.base import Figures, Known, RefusalError, Respondent, TextQuery
from common.seeding import derive_seed
from common.tree import Tree, digest

_MOST_SAMPLES = 1000
_LONGEST = 10**6  # characters of a run that can be told
_LOCK = threading.Lock()


class LongestCopy(TextQuery[tuple[int, int]]):
    """Asks for the longest run of characters that samples copy: ``trained`` and ``held-out``, int64 ().

    Of the client's training texts as many characters are looked at, from the first on, as it has held-out ones.
    Samples follow from weights and seed, and are the same at all clients: ``evaluation.num-samples`` of them, at most
    1000, evenly over the labels.

    The scores are those of ``copy_scores``.
    """

    title: ClassVar[str] = LONGEST_COPY.name

    def answer(self, question: Tree, client: Respondent) -> Tree:
        if reason := self.reason_against(client):
            raise RefusalError(reason)
        spec = client.spec
        if client.test is None or not len(client.test) or not isinstance(spec, TextSpec):
            raise RefusalError("its held-out texts are too few to compare with: it has none")
        held_out, trained = (unpack(part.stored, spec) for part in (client.test, client.examples))
        num = min(sum(map(len, held_out)), sum(map(len, trained)))
        with _LOCK:  # clients in threads share one set of samples
            runs = _runs(_Weights(question), client.config, spec, client.device)
        found = (runs.longest_in(cut(texts, num)) for texts in (trained, held_out))
        return {key: torch.tensor(run) for key, run in zip(("trained", "held-out"), found, strict=True)}

    def read(self, answer: Tree, known: Known) -> tuple[int, int]:
        values = [answer.get(key, torch.zeros(0)) for key in ("trained", "held-out")]
        if any(value.dtype != torch.int64 or value.shape != () for value in values):
            raise DataError(f"runs are {[(tuple(value.shape), value.dtype) for value in values]}, not whole numbers")
        trained, held_out = (int(value) for value in values)
        if not (0 <= trained <= _LONGEST and 0 <= held_out <= _LONGEST):
            raise DataError(f"runs of {trained} and {held_out} characters are none")
        return trained, held_out

    def scores(self, answers: Mapping[int, tuple[int, int]], num_clients: int) -> Figures:
        trained, held_out = (
            [answers[k][side] if k in answers else None for k in range(num_clients)] for side in (0, 1)
        )
        return copy_scores(trained, held_out)


def cut(texts: Sequence[str], num: int) -> list[str]:
    """Returns the first texts, of ``num`` characters together, the last of them cut off."""
    found: list[str] = []
    for text in texts:
        found.append(text[:num])
        num -= len(found[-1])
        if not num:
            break
    return found


class _Weights:
    """Published weights that are equal, as arguments of a function that is remembered, where their bits are."""

    def __init__(self, tree: Tree) -> None:
        self.tree, self.key = tree, digest(tree)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Weights) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@functools.lru_cache(maxsize=1)
def _runs(weights: _Weights, config: RunConfig, spec: TextSpec, device: torch.device) -> Runs:
    """Returns all runs of characters of the samples."""
    labels = balanced_labels(min(config.evaluation.num_samples, _MOST_SAMPLES), spec.num_classes)
    sampler = load_sampler(config.model_component, spec, weights.tree, device)
    return Runs([spec.decode(row) for row in generate(sampler, labels, derive_seed(config.seed, "longest-copy"))])
