"""Checks attacks on membership: by hand, against scipy, and that intervals hold the truth as often as they say."""

import pytest
import torch
from scipy import stats

from common.audit import Attack, attack, auc
from common.errors import DataError


def draws(num, shift=0.0, seed=0):
    return torch.randn(num, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def test_auc_and_its_error_by_hand():
    area, error = auc(torch.tensor([3.0, 1.0]).double(), torch.tensor([2.0, 0.0]).double())
    assert area == pytest.approx(3 / 4)  # of four pairs, only (1, 2) is out of order
    assert error**2 == pytest.approx(0.125 / 2 + 0.125 / 2)  # shares (1, 1/2) on both sides: variance 1/8 each


def test_equal_scores_count_half():
    assert auc(torch.ones(3).double(), torch.ones(5).double())[0] == 0.5


def test_auc_is_that_of_mann_and_whitney():
    members, others = draws(40, 0.5), draws(70, seed=1)
    statistic = stats.mannwhitneyu(members.numpy(), others.numpy()).statistic
    assert auc(members, others)[0] == pytest.approx(statistic / (40 * 70))


def test_the_interval_holds_the_truth_as_often_as_it_says():
    truth = stats.norm.cdf(1 / 2**0.5)
    found = [attack(draws(60, 1.0, 2 * k), draws(80, 0.0, 2 * k + 1)) for k in range(200)]
    holds = sum(it.auc_low <= truth <= it.auc_high for it in found) / 200
    assert 0.91 < holds < 0.985


def test_a_perfect_attack_has_an_interval_that_depends_on_how_many_there_were():
    few, many = (attack(draws(num) + 100, draws(num, seed=1)) for num in (10, 100))
    assert few.auc == many.auc == few.auc_high == 1
    assert few.auc_low == pytest.approx(0.025 ** (1 / 10), abs=1e-9)
    assert many.auc_low == pytest.approx(0.025 ** (1 / 100), abs=1e-9)


def test_true_positives_at_one_percent_of_false_ones_by_hand():
    others = torch.arange(200).double()  # two may be false: the threshold is the third from above, 197
    members = torch.tensor([197.0, 197.5, 198.5, 300.0])
    found = attack(members, others)
    assert found.rate == 3 / 4
    assert (found.rate_low, found.rate_high) == pytest.approx((0.194120, 0.993691), abs=1e-5)


def test_chance_is_within_the_interval():
    found = attack(draws(500, seed=2), draws(500, seed=3))
    assert found.auc_low < 0.5 < found.auc_high
    assert found.rate_low < 0.01 < found.rate_high


def test_an_attack_travels():
    found = attack(draws(50, 1.0), draws(30, seed=1))
    assert Attack.read(found.values()) == found
    assert Attack.of_record(found.record()) == found
    assert found.record()["num-members"] == 50


@pytest.mark.parametrize("values", [None, torch.zeros(3), torch.full((8,), 2.0), torch.full((8,), float("nan"))])
def test_what_is_no_attack_is_refused(values):
    with pytest.raises(DataError):
        Attack.read(values)


@pytest.mark.parametrize("members", [[], [float("nan")]])
def test_scores_that_tell_nothing_are_refused(members):
    with pytest.raises(DataError, match="too few|no numbers"):
        attack(torch.tensor(members), torch.tensor([1.0]))
