"""Intervals and paired tests of a study, against scipy's own and against figures computed by hand."""

import math
import sys

import pytest
from scipy import stats

from common.errors import ConfigError
from simulations.studies import comparisons
from simulations.studies.comparisons import holm, interval, paired

OURS = {(0, 0): 10.0, (1, 0): 12.0, (2, 0): 11.0, (3, 0): 15.0}
THEIRS = {(0, 0): 11.0, (1, 0): 14.5, (2, 0): 11.5, (3, 0): 18.0}


def test_the_test_of_seeds_is_scipys_paired_one():
    found = paired("fid", ("a", "b"), OURS, THEIRS)
    reference = stats.ttest_rel(list(OURS.values()), list(THEIRS.values()))
    assert found.t == pytest.approx(reference.statistic)
    assert found.p == pytest.approx(reference.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(reference.confidence_interval(0.95)))
    assert (found.mean, found.n) == (pytest.approx(-1.75), 4)
    mirrored = paired("fid", ("b", "a"), THEIRS, OURS)
    assert (mirrored.mean, mirrored.t, mirrored.p) == (-found.mean, -found.t, pytest.approx(found.p))


def test_folds_widen_the_interval_as_they_share_what_they_train_on():
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    low, high = interval(values, num_folds=5)
    narrow = interval(values)
    reach = stats.t.ppf(0.975, 4) * math.sqrt(2.5 * (1 / 5 + 1 / 4))  # s^2 (1/n + 1/(K-1))
    assert (low, high) == pytest.approx((3 - reach, 3 + reach))
    assert high - low == pytest.approx(1.5 * (narrow[1] - narrow[0]))


def test_only_cells_that_both_rows_have_are_compared():
    found = paired("fid", ("a", "b"), OURS, {(1, 0): 14.0, (3, 0): 16.0, (9, 0): 99.0})
    assert (found.n, found.mean) == (2, -1.5)
    assert paired("fid", ("a", "b"), OURS, {(9, 0): 1.0}) is None
    one = paired("fid", ("a", "b"), OURS, {(0, 0): 9.0})
    assert (one.n, one.mean, one.low, one.p) == (1, 1.0, None, None)
    assert interval([1.0]) is None


def test_rows_that_are_the_same_or_differ_by_a_constant_have_no_t():
    same = paired("fid", ("a", "b"), OURS, OURS)
    assert (same.mean, same.t, same.p) == (0.0, None, 1.0)
    shifted = paired("fid", ("a", "b"), OURS, {key: value + 1 for key, value in OURS.items()})
    assert (shifted.mean, shifted.t, shifted.p) == (-1.0, None, 0.0)


def test_holms_correction_is_of_all_tests_and_keeps_their_order():
    assert holm([0.01, None, 0.04, 0.03]) == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06)]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_missing_scipy_is_said_with_the_way_to_have_it(monkeypatch):
    comparisons.require_scipy()
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(ConfigError, match=r"pip install 'fedgan\[study\]'"):
        comparisons.require_scipy()
