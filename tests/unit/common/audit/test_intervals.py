"""Checks the binomial tails and the exact interval against values by hand and against scipy."""

import pytest
from scipy import stats

from common.audit import at_least, clopper_pearson


def test_tails_by_hand():
    assert at_least(2, 3, 0.5) == pytest.approx(4 / 8)
    assert at_least(0, 3, 0.2) == 1
    assert at_least(3, 3, 1.0) == 1
    assert at_least(1, 3, 0.0) == 0
    assert at_least(150, 400, 0.4) == pytest.approx(stats.binom.sf(149, 400, 0.4), rel=1e-9)


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 10), (10, 10), (5, 500), (0, 0)])
def test_the_exact_interval_is_scipys(successes, trials):
    if not trials:
        assert clopper_pearson(0, 0) == (0.0, 1.0)
        return
    expected = stats.binomtest(successes, trials).proportion_ci(0.95, method="exact")
    assert clopper_pearson(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_none_of_ten_by_hand():
    low, high = clopper_pearson(0, 10)
    assert low == 0
    assert high == pytest.approx(1 - 0.025 ** (1 / 10))


def test_more_successes_than_trials_are_refused():
    with pytest.raises(ValueError, match="3 successes of 2 trials"):
        clopper_pearson(3, 2)
