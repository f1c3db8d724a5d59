"""What noise costs: epsilon of mechanisms one after another, and the noise that a budget asks for.

Where every example takes part in every use the formula is exact (``gaussian_epsilon``). Where examples are sampled,
privacy loss distributions are composed by ``dp-accounting`` (the extra ``privacy``), rounded so that epsilon is never
too low; it is imported when it is first used, as that takes seconds.
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from common.errors import ConfigError

_LEAST_NOISE, _MOST_NOISE = 0.05, 1e6
_CLOSE, _CLOSEST = 2e-3, 1e-7  # how far below its budget, relative to it, what noise spends may be
_MOST_TRIES = 60
_LARGEST_EPSILON = 1e6
_SHARE_OF_DEVIATION = 0.15  # of one use's privacy loss, which is cut into steps: costs 0.1 % of epsilon
_COARSEST, _MOST_STEPS = 5e-3, 20_000


@dataclass(frozen=True)
class Mechanism:
    """A Gaussian mechanism on a sum over a client's examples, each of which adds a vector of bounded length.

    Attributes:
        noise_multiplier: Standard deviation of the noise in each coordinate, in units of that length; > 0.
        rate: Probability with which each example takes part, by a draw of its own (Poisson sampling); in (0, 1].
    """

    noise_multiplier: float
    rate: float = 1.0

    def loss_variance(self) -> float:
        """Returns about the variance of the privacy loss of a use, by which costs compare (Dong et al. 2019, cor. 4).

        Exact at a rate of 1; else where the rate is small and there are many uses.
        """
        if self.rate == 1:
            return self.noise_multiplier**-2
        return self.rate**2 * math.expm1(min(self.noise_multiplier**-2, 50.0))


def epsilon(uses: Mapping[Mechanism, int], delta: float) -> float:
    """Returns the least epsilon that is known to hold, with ``delta``, after so many uses of each mechanism; 0: none.

    Neighbours differ in one example that is added or removed.

    Raises:
        ConfigError: ``dp-accounting`` is needed and not installed.
    """
    return _epsilon(frozenset((mechanism, times) for mechanism, times in uses.items() if times), delta)


def gaussian_epsilon(ratio: float, delta: float) -> float:
    """Returns epsilon of a Gaussian mechanism: exactly, to 1e-9 relative.

    Args:
        ratio: The longest change of what noise is added to, over the standard deviation of the noise; of several uses
            the square root of the sum of their squares.
        delta: Of the promise.

    Source: Balle, Wang 2018 (arXiv 1805.06530), theorem 8.
    """
    if ratio <= 0 or _gaussian_delta(0.0, ratio) <= delta:
        return 0.0
    low, high = 0.0, 1.0
    while _gaussian_delta(high, ratio) > delta:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _gaussian_delta(middle, ratio) > delta else (low, middle)
    return high


def _gaussian_delta(epsilon_: float, ratio: float) -> float:
    points = torch.tensor([ratio / 2 - epsilon_ / ratio, -ratio / 2 - epsilon_ / ratio], dtype=torch.float64)
    logs = torch.special.log_ndtr(points).tolist()
    return math.exp(logs[0]) - math.exp(min(epsilon_ + logs[1], 0.0))


@functools.lru_cache(maxsize=4096)
def _epsilon(uses: frozenset[tuple[Mechanism, int]], delta: float) -> float:
    whole = sum(times * mechanism.noise_multiplier**-2 for mechanism, times in uses if mechanism.rate == 1)
    sampled = sorted((mechanism.rate, mechanism.noise_multiplier, times) for mechanism, times in uses)
    sampled = [row for row in sampled if row[0] < 1]
    if not sampled:
        return gaussian_epsilon(math.sqrt(whole), delta)
    losses = _library()
    step = min(_step_of(Mechanism(noise, rate)) for rate, noise, _ in sampled)
    parts = [_distribution(losses, noise, rate, step).self_compose(times) for rate, noise, times in sampled]
    if whole:
        parts.append(_distribution(losses, whole**-0.5, 1.0, step))
    composed = functools.reduce(lambda one, other: one.compose(other), parts)
    found = float(composed.get_epsilon_for_delta(delta))
    return found if math.isfinite(found) else _LARGEST_EPSILON


def _step_of(mechanism: Mechanism) -> float:
    """Returns the step that the privacy loss of a mechanism is rounded up to multiples of."""
    noise = mechanism.noise_multiplier
    longest = 0.5 / noise**2 + 8 / noise  # about, of what has a probability that counts
    return max(min(_SHARE_OF_DEVIATION * math.sqrt(mechanism.loss_variance()), _COARSEST), longest / _MOST_STEPS)


def _distribution(losses: ModuleType, noise: float, rate: float, step: float) -> Any:
    return losses.from_gaussian_mechanism(
        noise, sampling_prob=rate, value_discretization_interval=step, use_connect_dots=True
    )


@functools.lru_cache(maxsize=1024)
def noise_multiplier(epsilon_: float, delta: float, rate: float, times: int) -> float:
    """Returns the noise with which ``times`` uses of a mechanism of this ``rate`` spend ``epsilon_``, or just less.

    Raises:
        ConfigError: ``dp-accounting`` is needed and not installed, or no noise will do.
    """

    def roughly(noise: float) -> float:
        return gaussian_epsilon(math.sqrt(times * Mechanism(noise, rate).loss_variance()), delta)

    def exactly(noise: float) -> float:
        return epsilon({Mechanism(noise, rate): times}, delta)

    found = _least(roughly, epsilon_, 1.0, _CLOSEST)  # which is exact at a rate of 1
    if found is not None and rate < 1:
        found = _least(exactly, epsilon_, found, _CLOSE)
    if found is None:
        raise ConfigError(
            f"epsilon={epsilon_:g} with delta={delta:g} is less than {times:,} steps can keep, whatever the noise: "
            "take a larger epsilon or delta, or fewer steps"
        )
    return found


def _least(cost: Callable[[float], float], budget: float, guess: float, close: float) -> float | None:
    """Returns a noise whose cost is within the budget, and not more than ``close`` below; None where there is none.

    Costs fall with noise, about as a power of it, so their logarithms are interpolated.
    """
    costs: dict[float, float] = {}

    def excess(noise: float) -> float:
        costs[noise] = math.log(max(cost(noise), 1e-300) / budget)
        return costs[noise]

    low = high = guess  # the cost of low is beyond the budget in the end, that of high within it
    factor = 1.1
    if excess(guess) > 0:
        while costs[high] > 0:
            low, high, factor = high, high * factor, factor**2
            if high > _MOST_NOISE:
                return None
            excess(high)
    else:
        while costs[low] <= 0:
            if costs[low] >= -close or low <= _LEAST_NOISE:
                return low
            low, high, factor = low / factor, low, factor**2
            excess(low)
    for turn in range(_MOST_TRIES):
        if costs[high] >= -close:
            break
        share = (costs[low] + close / 2) / (costs[low] - costs[high])
        share = share if turn % 4 < 3 else 0.5  # where the costs are no power
        middle = math.exp(math.log(low) + share * math.log(high / low))
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return high


@functools.cache
def _library() -> ModuleType:
    try:
        from dp_accounting.pld import privacy_loss_distribution
    except ImportError:
        raise ConfigError(
            'privacy needs the package dp-accounting, which computes epsilon: pip install "fedgan[privacy]", on the '
            "server and at every site"
        ) from None
    module: ModuleType = privacy_loss_distribution
    return module
