"""A lower bound of epsilon from one run: canaries that a coin put into training or not, and guesses of the coins.

No promise of differential privacy with a lower epsilon can be true of the run, up to the stated confidence. That the
bound is low proves nothing: another attack may find more.
"""

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from common.audit.intervals import at_least, crossing, probabilities
from common.audit.membership import CONFIDENCE
from common.errors import DataError

SHARES = (1.0, 0.5, 0.25, 0.125)
"""Of the canaries, how many are guessed: the surest ones. Each is tried, at a quarter of the risk."""

DELTA = 1e-5
"""Where the run makes no promise of its own."""

_MOST = 50.0  # no number of canaries that fits anywhere shows more


@dataclass(frozen=True)
class Bound:
    """A lower bound of epsilon.

    Attributes:
        epsilon: No promise below it is true, at ``confidence``; 0: nothing was found.
        delta: Of the promise.
        num_canaries: Included and left out together.
        num_guesses: Of the share that gave the bound.
        num_right: Of these.
        confidence: Over all shares that were tried.
    """

    epsilon: float
    delta: float
    num_canaries: int
    num_guesses: int
    num_right: int
    confidence: float = CONFIDENCE

    def record(self) -> dict[str, float]:
        """Returns the attributes by kebab-case names."""
        return {name.replace("_", "-"): value for name, value in vars(self).items()}


def p_value(num_canaries: int, num_guesses: int, num_right: int, epsilon: float, delta: float) -> float:
    """Returns how likely so many right guesses are, at most, if the run is (epsilon, delta)-private; in [0, 1].

    Source: Steinke, Nasr, Jagielski 2023 (arXiv:2305.08846), theorem 5.2: P[Binomial(r, q) >= v] with
    q = 1 / (1 + exp(-epsilon)), plus 2 m delta times the largest mean P[v > Binomial(r, q) >= v - i] / i over i.

    Args:
        num_canaries: m, each included by a fair coin.
        num_guesses: r <= m; the others are not guessed.
        num_right: v <= r.
        epsilon: Of the promise, >= 0.
        delta: In [0, 1].
    """
    chance = 1 / (1 + math.exp(-epsilon))
    below = np.cumsum(probabilities(num_guesses, chance)[:num_right][::-1])
    steepest = float((below / np.arange(1, num_right + 1)).max(initial=0.0))
    return min(1.0, at_least(num_right, num_guesses, chance) + 2 * num_canaries * delta * steepest)


def epsilon_bound(num_canaries: int, num_guesses: int, num_right: int, delta: float, confidence: float) -> float:
    """Returns the largest epsilon that so many right guesses refute at ``confidence``; 0 where there is none.

    Args:
        num_canaries: See ``p_value``.
        num_guesses: Likewise.
        num_right: Likewise.
        delta: Likewise.
        confidence: In (0, 1).

    Raises:
        ValueError: More right guesses than guesses, or more guesses than canaries.
    """
    if not 0 <= num_right <= num_guesses <= num_canaries:
        raise ValueError(f"{num_right} right of {num_guesses} guesses of {num_canaries} canaries")
    risk = 1 - confidence

    def excess(epsilon: float) -> float:
        return p_value(num_canaries, num_guesses, num_right, epsilon, delta) - risk

    return 0.0 if excess(0.0) >= 0 else crossing(excess, 0.0, _MOST)


def guess_bound(scores: Tensor, included: Tensor, delta: float = DELTA, confidence: float = CONFIDENCE) -> Bound:
    """Returns the lower bound of epsilon from the scores of canaries.

    The highest scores are guessed to be included, as many of the lowest not; which share of the canaries is guessed is
    the best of ``SHARES``, each of which has its part of the risk (Bonferroni).

    Args:
        scores: Of the canaries (m,), m >= 1; high ones of those that the model seems to know.
        included: What the coins said, bool (m,).
        delta: Of the promise.
        confidence: Of the bound.

    Raises:
        DataError: No canaries, or not a coin for each score.
    """
    if not len(scores) or scores.shape != included.shape:
        raise DataError(f"{tuple(scores.shape)} scores and {tuple(included.shape)} coins of canaries")
    known = included.bool()[scores.double().argsort(descending=True, stable=True)]
    num, best = len(scores), Bound(0.0, delta, len(scores), 0, 0, confidence)
    for share in SHARES if num > 1 else ():
        half = min(num // 2, max(1, round(num * share / 2)))
        right = int(known[:half].sum()) + int((~known[num - half :]).sum())
        epsilon = epsilon_bound(num, 2 * half, right, delta, 1 - (1 - confidence) / len(SHARES))
        if not best.num_guesses or epsilon > best.epsilon:
            best = Bound(epsilon, delta, num, 2 * half, right, confidence)
    return best
