"""What noise costs: epsilon of mechanisms one after another, and the noise that a budget asks for.

The arithmetic is ``dp-accounting``'s (the extra ``privacy``), which is imported when it is first used, as that takes
seconds.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

from common.errors import ConfigError

_LEAST_NOISE, _MOST_NOISE = 1e-2, 1e6


@dataclass(frozen=True)
class Mechanism:
    """A Gaussian mechanism on a sum over a client's examples, each of which adds a vector of bounded length.

    Attributes:
        noise_multiplier: Standard deviation of the noise in each coordinate, in units of that length; > 0.
        rate: Probability with which each example takes part, by a draw of its own (Poisson sampling); in (0, 1].
    """

    noise_multiplier: float
    rate: float = 1.0


def epsilon(uses: Mapping[Mechanism, int], delta: float) -> float:
    """Returns the least epsilon that is known to hold, with ``delta``, after so many uses of each mechanism; 0: none.

    Neighbours differ in one example that is added or removed.

    Raises:
        ConfigError: ``dp-accounting`` is not installed.
    """
    uses = {mechanism: times for mechanism, times in uses.items() if times}
    if not uses:
        return 0.0
    events, rdp = _library()
    accountant = rdp.RdpAccountant()
    for mechanism, times in uses.items():
        accountant.compose(_event(events, mechanism), times)
    return float(accountant.get_epsilon(delta))


@functools.lru_cache(maxsize=256)
def noise_multiplier(epsilon_: float, delta: float, rate: float, times: int) -> float:
    """Returns the least noise with which ``times`` uses of a mechanism of this ``rate`` spend at most ``epsilon_``.

    Raises:
        ConfigError: ``dp-accounting`` is not installed, or no noise will do.
    """
    low, high = _LEAST_NOISE, 1.0
    while epsilon({Mechanism(high, rate): times}, delta) > epsilon_:
        low, high = high, 2 * high
        if high > _MOST_NOISE:
            raise ConfigError(
                f"epsilon={epsilon_:g} with delta={delta:g} is less than {times:,} steps can keep, whatever the noise: "
                "take a larger epsilon or delta, or fewer steps"
            )
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        if epsilon({Mechanism(middle, rate): times}, delta) > epsilon_:
            low = middle
        else:
            high = middle
    return high


@functools.cache
def _library() -> tuple[ModuleType, ModuleType]:
    try:
        from dp_accounting import dp_event, rdp
    except ImportError:
        raise ConfigError(
            'privacy needs the package dp-accounting, which computes epsilon: pip install "fedgan[privacy]", on the '
            "server and at every site"
        ) from None
    return dp_event, rdp


def _event(events: ModuleType, mechanism: Mechanism) -> object:
    gaussian = events.GaussianDpEvent(mechanism.noise_multiplier)
    return gaussian if mechanism.rate == 1 else events.PoissonSampledDpEvent(mechanism.rate, gaussian)
