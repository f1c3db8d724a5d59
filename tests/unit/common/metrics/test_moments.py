"""Moments: additive over any partition, and the mean and covariance of NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import DataError
from common.metrics.moments import Moments, mixed
from common.seeding import torch_generator


def cloud(count: int, dimension: int, *, offset: float = 0.0) -> torch.Tensor:
    return torch.randn(count, dimension, generator=torch_generator(0, "moments", count, dimension)) + offset


@settings(max_examples=50, deadline=None)
@given(owners=st.lists(st.integers(0, 3), min_size=2, max_size=40))
def test_moments_of_any_partition_add_up_to_the_pooled_ones(owners: list[int]) -> None:
    features = cloud(len(owners), 5, offset=3.0)
    parts = [Moments.of(features[torch.tensor(owners) == owner]) for owner in range(4)]  # some may be empty
    summed = parts[0] + parts[1] + parts[2] + parts[3]
    pooled = Moments.of(features)
    assert summed.count == pooled.count == len(owners)
    torch.testing.assert_close(summed.total, pooled.total, rtol=1e-13, atol=1e-12)
    torch.testing.assert_close(summed.outer, pooled.outer, rtol=1e-13, atol=1e-12)


def test_mean_and_covariance_are_those_of_numpy_in_float64() -> None:
    features = cloud(5000, 7, offset=10.0)  # more rows than one chunk holds
    moments = Moments.of(features)
    reference = features.numpy().astype(np.float64)
    assert moments.mean.dtype == moments.covariance.dtype == torch.float64
    np.testing.assert_allclose(moments.mean.numpy(), reference.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance.numpy(), np.cov(reference.T, ddof=1), rtol=0, atol=1e-11)
    assert torch.equal(moments.covariance, moments.covariance.T)


def test_sums_over_many_float32_rows_do_not_lose_the_small_ones() -> None:
    features = torch.full((20_000, 1), 1e-4)
    features[0] = 1e4
    assert float(Moments.of(features).total) == pytest.approx(1e4 + 19_999 * float(torch.tensor(1e-4)), rel=1e-13)


def test_too_few_vectors_and_foreign_shapes_are_refused() -> None:
    with pytest.raises(DataError, match="at least 2 feature vectors, not 1"):
        _ = Moments.of(cloud(1, 3)).covariance
    with pytest.raises(DataError, match="no mean"):
        _ = Moments.of(cloud(1, 3)[:0]).mean
    with pytest.raises(DataError, match="3 and of 4"):
        _ = Moments.of(cloud(2, 3)) + Moments.of(cloud(2, 4))
    with pytest.raises(DataError, match=r"\(5,\) are not \(N, D\)"):
        Moments.of(torch.zeros(5))


def test_a_mixture_in_the_parts_own_proportions_is_their_union() -> None:
    parts = [Moments.of(cloud(count, 3, offset=float(count))) for count in (5, 20, 75)]
    union = parts[0] + parts[1] + parts[2]
    same = mixed(parts, [10, 40, 150])
    assert same.count == 100
    torch.testing.assert_close(same.covariance, union.covariance, rtol=1e-12, atol=0)


def test_a_mixture_has_the_mean_and_the_second_moment_of_its_proportions() -> None:
    first, second = Moments.of(cloud(10, 3)), Moments.of(cloud(30, 3, offset=2.0))
    both = mixed([first, second, Moments.of(cloud(1, 3)[:0])], [1, 3, 0])
    torch.testing.assert_close(both.mean, 0.25 * first.mean + 0.75 * second.mean)
    torch.testing.assert_close(both.outer / both.count, 0.25 * first.outer / 10 + 0.75 * second.outer / 30)


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0], [1, 1]])
def test_what_cannot_be_mixed_is_refused(weights: list[float]) -> None:
    with pytest.raises(DataError, match="mixed"):
        mixed([Moments.of(cloud(4, 3)), Moments.of(cloud(4, 3)[:0])], weights)
