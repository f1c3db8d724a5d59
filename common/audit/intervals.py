"""Tails of the binomial distribution, and the exact confidence interval of a rate that they give."""

import functools
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

_HALVINGS = 60


def at_least(successes: int, trials: int, chance: float) -> float:
    """Returns P[Binomial(trials, chance) >= successes], in [0, 1]."""
    if successes <= 0:
        return 1.0
    return min(1.0, float(probabilities(trials, chance)[successes:].sum()))


def probabilities(trials: int, chance: float) -> npt.NDArray[np.float64]:
    """Returns P[Binomial(trials, chance) = k] of every k from 0: (trials + 1,), in [0, 1]."""
    successes = np.arange(trials + 1)
    if chance <= 0 or chance >= 1:
        certain: npt.NDArray[np.float64] = np.where(successes == (trials if chance >= 1 else 0), 1.0, 0.0)
        return certain
    ways = _log_ways(trials)
    found: npt.NDArray[np.float64] = np.exp(
        ways + successes * math.log(chance) + (trials - successes) * math.log1p(-chance)
    )
    return found


@functools.lru_cache(maxsize=16)
def _log_ways(trials: int) -> npt.NDArray[np.float64]:
    """Returns the logarithm of the number of ways to choose each number of ``trials``."""
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    ways: npt.NDArray[np.float64] = factorials[-1] - factorials - factorials[::-1]
    return ways


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Returns the exact two-sided interval of a rate, for ``successes`` of ``trials``: both ends in [0, 1].

    Source: Clopper, Pearson 1934 (Biometrika 26). It holds the true rate with at least ``confidence``, however few
    trials there are; of none it is [0, 1].
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else crossing(lambda rate: at_least(successes, trials, rate) - tail, 0.0, 1.0)
    fewer = trials - successes
    high = 1.0 if fewer == 0 else 1 - crossing(lambda rate: at_least(fewer, trials, rate) - tail, 0.0, 1.0)
    return low, high


def crossing(rising: Callable[[float], float], low: float, high: float) -> float:
    """Returns where a rising function crosses zero between ``low`` and ``high``, from below: its value is negative."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if rising(middle) < 0:
            low = middle
        else:
            high = middle
    return low
