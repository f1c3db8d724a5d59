"""BLEU of generated texts against held-out ones, and self-BLEU of each against the others.

One without the other says nothing: a model that repeats one good sentence has a high BLEU, and only the self-BLEU shows
it (Zhu et al. 2018, arXiv:1802.01886; Caccia et al. 2020, arXiv:1811.02549).
"""

from collections.abc import Iterable, Sequence

import numpy as np

from common.charts import Chart
from common.errors import DataError
from common.metrics.base import Metric, Score, Scores
from common.metrics.comparison import Comparison
from common.metrics.words import Counts, Numbers, grams, words

ORDERS = (2, 3, 4, 5)
"""The longest n-grams of the scores that are given."""


def bleu(samples: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> dict[int, float]:
    """Returns BLEU-2 to BLEU-5 of samples, in [0, 1], each sample against all references.

    Papineni et al. 2002 (ACL, P02-1040): the geometric mean, over n from 1 to the order, of the share of all samples'
    n-grams that a reference has, each counted at most as often as the one reference that has it most; times
    exp(1 - r/c) where the samples' words, c, are fewer than those of the references of the nearest lengths, r (of two
    as near the shorter). Of the whole corpus, and not a mean over sentences, without smoothing: 0 where no n-gram of
    some length is found.

    Args:
        samples: Their words; one text at least.
        references: Their words; one text at least.

    Raises:
        DataError: No samples, or no references.
    """
    if not samples or not references:
        raise DataError(f"{len(samples)} samples and {len(references)} references: BLEU needs one of each at least")
    num, lengths = len(samples), {len(reference) for reference in references}
    nearest = [_nearest(len(sample), lengths) for sample in samples]
    shares = []
    for found in grams([*samples, *references], ORDERS[-1]):
        counts = found.counted()
        most = np.zeros(found.num_different, np.int64)
        of_references = counts.text >= num
        np.maximum.at(most, counts.number[of_references], counts.count[of_references])
        own = counts.count[~of_references]
        shares.append(_share(own, most[counts.number[~of_references]]))
    return _scores(shares, sum(map(len, samples)), sum(nearest))


def self_bleu(samples: Sequence[Sequence[str]]) -> dict[int, float]:
    """Returns self-BLEU-2 to self-BLEU-5: ``bleu`` where the references of each sample are all others. Lower is varied.

    Args:
        samples: Their words; two texts at least.

    Raises:
        DataError: Fewer than two samples.
    """
    if len(samples) < 2:
        raise DataError(f"{len(samples)} sample(s): self-BLEU needs two at least")
    different, how_many = np.unique([len(sample) for sample in samples], return_counts=True)
    lengths = set(different.tolist())
    alone = {int(length) for length, count in zip(different, how_many, strict=True) if count == 1}
    nearest = [_nearest(length, lengths - {length} if length in alone else lengths) for length in map(len, samples)]
    shares = []
    for found in grams(samples, ORDERS[-1]):
        counts = found.counted()
        shares.append(_share(counts.count, _most_of_others(counts)))
    return _scores(shares, sum(map(len, samples)), sum(nearest))


def _most_of_others(counts: Counts) -> Numbers:
    """Returns how often, of all other texts, the one that has the n-gram most has it; 0 where none has."""
    order = np.lexsort((counts.count, counts.number))
    number, count = counts.number[order], counts.count[order]
    is_last = np.append(number[1:] != number[:-1], True) if len(number) else np.zeros(0, bool)
    last = np.flatnonzero(is_last)
    second = np.where(np.append(-1, last[:-1]) < last - 1, count[last - 1], 0)
    group = np.cumsum(is_last) - is_last
    most = np.empty_like(count)
    most[order] = np.where(is_last, second[group], count[last][group])
    return most


def _nearest(length: int, lengths: Iterable[int]) -> int:
    return min(lengths, key=lambda other: (abs(other - length), other))


def _share(own: Numbers, most: Numbers) -> float:
    return float(np.minimum(own, most).sum() / own.sum()) if len(own) else 0.0


def _scores(shares: Sequence[float], num_words: int, num_nearest: int) -> dict[int, float]:
    brevity = float(np.exp(min(0.0, 1 - num_nearest / num_words))) if num_words else 0.0
    found = {}
    for order in ORDERS:
        those = shares[:order]
        found[order] = brevity * float(np.exp(np.mean(np.log(those)))) if min(those) > 0 else 0.0
    return found


def _compute(compared: Comparison) -> Scores:
    samples, references = ([words(text) for text in part.texts] for part in (compared.sample, compared.real))
    found: Scores = {f"bleu-{order}": value for order, value in bleu(samples, references).items()}
    return found | {f"self-bleu-{order}": value for order, value in self_bleu(samples).items()}


def _score(order: int, *, among: bool) -> Score:
    of, what = ("self-", "the other samples") if among else ("", "held-out texts")
    return Score(
        f"{of}bleu-{order}",
        f"{of}BLEU-{order}",
        f"how many runs of 1 to {order} words of the samples stand in {what} too",
        "lower" if among else "higher",
        chart=SELF if among else AGAINST,
        benchmark="column" if order == ORDERS[-1] else "",
    )


AGAINST = Chart("bleu", "BLEU", "Samples against held-out texts. Higher is better, beside self-BLEU.")
SELF = Chart("self-bleu", "Self-BLEU", "Samples against each other. Lower is more varied.")

BLEU = Metric(
    "bleu",
    tuple(_score(order, among=among) for among in (False, True) for order in ORDERS),
    needs=frozenset({"held-out"}),
    kinds=frozenset({"text"}),
    compute=_compute,
)
