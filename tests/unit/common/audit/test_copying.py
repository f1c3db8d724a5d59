"""Checks the test of copies: by hand, against scipy, and by what it says of generators that copy, draw and underfit."""

import pytest
import torch
from scipy import stats

from common.audit import copying
from common.errors import DataError


def draws(num, seed, scale=1.0):
    return scale * torch.randn(num, 4, generator=torch.Generator().manual_seed(seed))


def test_by_hand():
    trained = torch.zeros(1, 1)
    real, made = torch.tensor([[2.0], [4.0]]), torch.tensor([[1.0], [3.0]])
    # Of the pairs of distances only (3, 2) has the generated one further: U = 1, its mean 2, variance 4 * 5 / 12.
    assert copying(trained, real, made) == pytest.approx(-1 / (20 / 12) ** 0.5)


def test_one_cell_is_the_z_score_of_mann_and_whitney():
    trained, real, made = draws(50, 0), draws(40, 1), draws(60, 2, 1.3)
    far, near = (torch.cdist(part.double(), trained.double()).amin(1).numpy() for part in (real, made))
    two_sided = stats.mannwhitneyu(near, far, use_continuity=False, method="asymptotic").pvalue
    assert copying(trained, real, made) == pytest.approx(stats.norm.isf(two_sided / 2), abs=1e-6)


def test_a_generator_that_copies_is_far_below_zero_and_one_that_draws_is_not():
    trained, real = draws(200, 0), draws(100, 1)
    assert copying(trained, real, trained[:100] + 0.01 * draws(100, 2)) < -8
    assert abs(copying(trained, real, draws(100, 3))) < 3
    assert copying(trained, real, draws(100, 4, 3.0)) > 5


def test_under_the_null_it_is_standard_normal_over_cells():
    found = []
    for k in range(200):
        cells = torch.arange(60) % 3
        real, made = (draws(60, 10 * k + part) + 5 * cells[:, None] for part in (1, 2))
        found.append(copying(draws(30, 10 * k), real, made, cells, cells))
    spread = torch.tensor(found)
    assert abs(float(spread.mean())) < 0.25
    assert 0.8 < float(spread.std()) < 1.2


def test_cells_keep_classes_apart():
    trained = torch.tensor([[0.0], [10.0]])
    real, made = torch.tensor([[1.0], [13.0]]), torch.tensor([[2.0], [12.0]])
    cells = torch.tensor([0, 1])
    # Class 0: distances 1 and 2, U = 1; class 1: 3 and 2, U = 0: in sum as many as by chance.
    assert copying(trained, real, made, cells, cells) == 0
    with pytest.raises(DataError, match="no class"):
        copying(trained, real, made, cells, cells + 2)
    with pytest.raises(DataError, match="no training examples"):
        copying(trained[:0], real, made)
