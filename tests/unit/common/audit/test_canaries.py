"""Checks the lower bound of epsilon: by hand, and on mechanisms whose epsilon is known."""

import math

import pytest
import torch
from scipy import stats

from common.audit import epsilon_bound, guess_bound, p_value
from common.errors import DataError


def generator(seed):
    return torch.Generator().manual_seed(seed)


def coins(num, seed):
    return torch.rand(num, generator=generator(seed)) < 0.5


def randomised_response(included, epsilon, seed):
    """Tells each coin rightly with probability e^epsilon / (1 + e^epsilon): epsilon-private, and no less."""
    honest = torch.rand(len(included), generator=generator(seed)) < 1 / (1 + math.exp(-epsilon))
    return torch.where(honest, included, ~included).double()


def test_without_delta_all_right_by_hand():
    # q^r = 0.05 at the bound, and epsilon = log(q / (1 - q)).
    chance = 0.05 ** (1 / 20)
    assert epsilon_bound(100, 20, 20, 0.0, 0.95) == pytest.approx(math.log(chance / (1 - chance)))


def test_delta_by_hand():
    # r = v = 2, q = 1/2: P[>= 2] = 1/4; i = 1: P[= 1] / 1 = 1/2; i = 2: (1/2 + 1/4) / 2 = 3/8. So 1/4 + 2 m delta / 2.
    assert p_value(10, 2, 2, 0.0, 0.001) == pytest.approx(0.25 + 2 * 10 * 0.001 * 0.5)
    assert p_value(10, 2, 2, 0.0, 0.0) == pytest.approx(0.25)


def test_the_p_value_is_a_binomial_tail_that_falls_with_more_right_guesses():
    chance = 1 / (1 + math.exp(-1.5))
    assert p_value(300, 200, 170, 1.5, 0.0) == pytest.approx(stats.binom.sf(169, 200, chance), rel=1e-9)
    assert p_value(300, 200, 190, 1.5, 1e-5) < p_value(300, 200, 170, 1.5, 1e-5) < p_value(300, 200, 170, 2.5, 1e-5)


def test_half_right_refutes_nothing():
    assert epsilon_bound(100, 100, 55, 0.0, 0.95) == 0


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 2.0])
def test_randomised_response_is_bounded_below_its_epsilon_and_close_to_it(epsilon):
    found = []
    for seed in range(40):
        included = coins(1000, seed)
        answers = randomised_response(included, epsilon, 1000 + seed)
        right = int((answers.bool() == included).sum())
        found.append(epsilon_bound(1000, 1000, right, 0.0, 0.95))
    assert sum(bound > epsilon for bound in found) <= 6  # 5 % of 40 are 2; 7 or more have a chance of 0.5 %
    assert epsilon - 0.45 < sum(found) / len(found) < epsilon


def test_guesses_of_a_mechanism_without_any_leak_refute_nothing():
    found = [guess_bound(torch.rand(400, generator=generator(k)), coins(400, 500 + k), 0.0).epsilon for k in range(40)]
    assert sum(bound > 0 for bound in found) <= 6


def gaussian_sum(included, noise, seed):
    """A private sum that canaries in directions of their own go into, each of length 1, and their scores by it."""
    sums = included.double() + noise * torch.randn(len(included), generator=generator(seed)).double()
    return guess_bound(sums, included, 1e-5)


def test_a_gaussian_mechanism_is_bounded_below_its_epsilon_and_exposed_without_its_noise():
    included = coins(1000, 0)
    noised = gaussian_sum(included, 1.0, 1)  # epsilon 4.4 at delta 1e-5 (Balle, Wang 2018)
    assert 0.5 < noised.epsilon < 4.4
    exposed = gaussian_sum(included, 0.0, 1)
    assert exposed.num_right == exposed.num_guesses
    assert exposed.epsilon > 4.4


def test_the_surest_guesses_are_taken_where_only_they_are_right():
    included = torch.tensor([True] * 20 + [False, True] * 100 + [False] * 20)
    found = guess_bound(torch.arange(240, 0, -1), included, 0.0)
    assert (found.num_guesses, found.num_right) == (30, 30) or found.num_guesses == 60
    assert found.epsilon > 1
    assert found.record()["num-canaries"] == 240


@pytest.mark.parametrize("num", [1, 2, 3, 7])
def test_few_canaries_show_nothing(num):
    found = guess_bound(torch.arange(num).double(), torch.ones(num).bool())
    assert found.epsilon == 0
    assert found.num_guesses == num - num % 2


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="3 right of 2 guesses"):
        epsilon_bound(5, 2, 3, 0.0, 0.95)
    with pytest.raises(DataError):
        guess_bound(torch.zeros(0), torch.zeros(0))
