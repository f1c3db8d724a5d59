"""Epsilon of noise, and the noise of an epsilon, against dp-accounting and published values."""

import math
import sys

import pytest

from common.errors import ConfigError
from common.privacy import accounting
from common.privacy.accounting import Mechanism, epsilon, gaussian_epsilon, noise_multiplier

pytest.importorskip("dp_accounting")
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant

DELTA = 1e-5


def _by_dp_accounting(*uses: tuple[float, float, int], step: float = 1e-3) -> float:
    """Epsilon of its own accountant, of (noise, rate, times)."""
    accountant = PLDAccountant(value_discretization_interval=step)
    for noise, rate, times in uses:
        gaussian = dp_event.GaussianDpEvent(noise)
        accountant.compose(gaussian if rate == 1 else dp_event.PoissonSampledDpEvent(rate, gaussian), times)
    return float(accountant.get_epsilon(DELTA))


def test_one_gaussian_costs_what_is_published() -> None:
    # Balle, Wang 2018: the least noise of sensitivity 1 at epsilon 1, delta 1e-5 is 3.7306
    assert epsilon({Mechanism(3.7306): 1}, DELTA) == pytest.approx(1.0, abs=2e-5)
    assert noise_multiplier(1.0, DELTA, 1.0, 1) == pytest.approx(3.7306, abs=1e-4)
    assert noise_multiplier(10.0, DELTA, 1.0, 1) == pytest.approx(0.500, abs=2e-3)


def test_many_gaussians_cost_what_one_with_less_noise_does() -> None:
    assert epsilon({Mechanism(8.0): 16}, DELTA) == pytest.approx(epsilon({Mechanism(2.0): 1}, DELTA), rel=1e-8)
    # 1 / 2^2 + 3 / 6^2 = 1 / 3
    mixed = epsilon({Mechanism(2.0): 1, Mechanism(6.0): 3}, DELTA)
    assert mixed == pytest.approx(gaussian_epsilon(math.sqrt(1 / 3), DELTA), rel=1e-8)


def test_the_formula_agrees_with_a_privacy_loss_distribution() -> None:
    assert epsilon({Mechanism(2.0): 3}, DELTA) == pytest.approx(_by_dp_accounting((2.0, 1, 3)), rel=1e-3)


@pytest.mark.parametrize(
    "uses",
    [
        [(1.0, 0.1, 100)],
        [(14.0, 0.1, 300)],
        [(0.8, 0.01, 50)],
        [(1.5, 0.2, 20), (3.0, 0.05, 40)],
        [(1.5, 0.2, 20), (5.0, 1, 2)],
    ],
    ids=str,
)
def test_a_schedule_costs_what_dp_accounting_says(uses: list[tuple[float, float, int]]) -> None:
    theirs = _by_dp_accounting(*uses)
    ours = epsilon({Mechanism(noise, rate): times for noise, rate, times in uses}, DELTA)
    assert theirs * 0.995 <= ours <= theirs * 1.01


def test_steps_of_the_notes_need_no_more_noise_than_was_measured_with_renyi_divergences() -> None:
    assert 1.85 < noise_multiplier(10.0, DELTA, 0.1, 1200) < 1.99  # 6,000 examples in batches of 600
    assert 2.15 < noise_multiplier(10.0, DELTA, 32 / 300, 1500) < 2.33


@pytest.mark.parametrize(
    ("budget", "rate", "times"), [(10.0, 1.0, 1), (0.5, 1.0, 60), (10.0, 0.1, 100), (1.0, 0.02, 50)]
)
def test_the_noise_of_a_budget_spends_it_and_no_more(budget: float, rate: float, times: int) -> None:
    noise = noise_multiplier(budget, DELTA, rate, times)
    assert 0.995 * budget <= epsilon({Mechanism(noise, rate): times}, DELTA) <= budget
    assert epsilon({Mechanism(0.98 * noise, rate): times}, DELTA) > budget


def test_what_is_not_used_costs_nothing() -> None:
    assert epsilon({}, DELTA) == 0.0
    assert epsilon({Mechanism(1.0, 0.5): 0}, DELTA) == 0.0
    assert epsilon({Mechanism(1e7): 1}, DELTA) == 0.0


def test_a_budget_that_no_noise_keeps_is_refused_with_a_way_out() -> None:
    with pytest.raises(ConfigError, match=r"epsilon=1e-09 with delta=1e-30 .* take a larger epsilon"):
        noise_multiplier(1e-9, 1e-30, 1.0, 10**9)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting.pld", None)
    accounting._library.cache_clear()
    accounting._epsilon.cache_clear()
    with pytest.raises(ConfigError, match=r"pip install \"fedgan\[privacy\]\""):
        epsilon({Mechanism(1.2345, 0.5): 1}, DELTA)
    accounting._library.cache_clear()
