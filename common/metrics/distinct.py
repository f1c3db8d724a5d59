"""Distinct-2: the share of pairs of words that are different."""

from collections.abc import Sequence

from common.metrics.base import Metric, Score, Scores
from common.metrics.comparison import Comparison
from common.metrics.words import grams, words


def distinct(texts: Sequence[Sequence[str]], order: int = 2) -> float:
    """Returns how many different n-grams all texts together have, over how many they have: in [0, 1].

    Li et al. 2016 (arXiv:1510.03055), section 5.2. It falls with the number of texts: compare equally many. 0 where
    there is no n-gram.

    Args:
        texts: Their words.
        order: Words of an n-gram, at least 1.
    """
    *_, found = grams(texts, order)
    return found.num_different / len(found.number) if len(found.number) else 0.0


def _compute(compared: Comparison) -> Scores:
    return {"distinct-2": distinct([words(text) for text in compared.sample.texts])}


DISTINCT = Metric(
    "distinct-2",
    (
        Score(
            "distinct-2",
            "distinct-2",
            "share of the pairs of words of the samples that are different",
            "higher",
        ),
    ),
    kinds=frozenset({"text"}),
    compute=_compute,
)
