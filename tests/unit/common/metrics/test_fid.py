"""The Fréchet distance: against SciPy's matrix root, against hand-computed Gaussians, and by meaning."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from common.errors import DataError, DivergenceError
from common.metrics.fid import frechet_distance
from common.metrics.moments import Moments
from common.seeding import torch_generator


def cloud(count: int, dimension: int, seed: int) -> torch.Tensor:
    """Returns correlated, off-centre features."""
    generator = torch_generator(seed, "fid")
    mixing = torch.randn(dimension, dimension, generator=generator) / math.sqrt(dimension)
    return torch.randn(count, dimension, generator=generator) @ mixing + torch.randn(dimension, generator=generator)


def gaussian(mean: torch.Tensor, covariance: torch.Tensor, count: int = 101) -> Moments:
    """Returns moments that have exactly this mean and unbiased covariance."""
    outer = covariance.double() * (count - 1) + count * torch.outer(mean, mean).double()
    return Moments(count, mean.double() * count, outer)


def scipy_distance(first: torch.Tensor, second: torch.Tensor) -> float:
    a, b = first.double().numpy(), second.double().numpy()
    one, two = np.cov(a.T, ddof=1), np.cov(b.T, ddof=1)
    root = scipy.linalg.sqrtm(one @ two)
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(one + two - 2 * np.real(root)))


@pytest.mark.parametrize(("count", "dimension"), [(200, 3), (500, 64)])
def test_equals_the_closed_form_with_scipys_matrix_root(count: int, dimension: int) -> None:
    real, fake = cloud(count, dimension, 0), cloud(count + 50, dimension, 1)
    distance = frechet_distance(Moments.of(real), Moments.of(fake))
    assert distance > 1
    assert distance == pytest.approx(scipy_distance(real, fake), rel=1e-9)


def test_of_diagonal_gaussians_is_what_one_computes_by_hand() -> None:
    first = gaussian(torch.tensor([0.0, 1.0]), torch.diag(torch.tensor([4.0, 9.0])))
    second = gaussian(torch.tensor([3.0, 1.0]), torch.diag(torch.tensor([1.0, 0.0])))
    by_hand = 3.0**2 + (2.0 - 1.0) ** 2 + (3.0 - 0.0) ** 2  # |m1 - m2|^2 + sum (s1 - s2)^2
    assert frechet_distance(first, second) == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("count", [20, 1000])  # fewer and more vectors than features
def test_of_a_set_with_itself_is_zero_even_with_dead_features(count: int) -> None:
    features = cloud(count, 64, 0) * 10
    features[:, :20] = 0
    moments = Moments.of(features)
    assert 0 <= frechet_distance(moments, moments) <= 1e-8 * float(moments.covariance.trace())


def test_of_singular_sets_that_share_no_direction_is_exact() -> None:
    axes = torch.linalg.qr(cloud(40, 40, 2).double()).Q  # so that no feature is exactly dead
    first = Moments.of(cloud(50, 10, 0).double() @ axes[:10])
    second = Moments.of(cloud(50, 10, 1).double() @ axes[30:])
    apart = float((first.mean - second.mean).square().sum() + first.covariance.trace() + second.covariance.trace())
    assert frechet_distance(first, second) == pytest.approx(apart, rel=1e-12)


def test_is_symmetric_and_grows_with_the_shift() -> None:
    real, fake = Moments.of(cloud(300, 16, 0)), Moments.of(cloud(300, 16, 1))
    assert frechet_distance(real, fake) == pytest.approx(frechet_distance(fake, real), rel=1e-10)
    shifted = Moments.of(cloud(300, 16, 0) + 2.0)
    assert frechet_distance(real, shifted) == pytest.approx(16 * 2.0**2, rel=1e-5)


def test_federated_distance_equals_the_pooled_one() -> None:
    real, fake = cloud(500, 16, 0), cloud(600, 16, 1)
    summed = Moments.of(real[:7]) + Moments.of(real[7:100]) + Moments.of(real[100:])
    pooled = frechet_distance(Moments.of(real), Moments.of(fake))
    assert frechet_distance(summed, Moments.of(fake)) == pytest.approx(pooled, rel=1e-10)


def test_foreign_and_broken_features_are_refused() -> None:
    with pytest.raises(DataError, match="3 of the real images, 4 of the generated"):
        frechet_distance(Moments.of(cloud(9, 3, 0)), Moments.of(cloud(9, 4, 0)))
    broken = cloud(9, 3, 0)
    broken[0, 0] = float("nan")
    with pytest.raises(DivergenceError, match="generated images are not finite"):
        frechet_distance(Moments.of(cloud(9, 3, 0)), Moments.of(broken))
