"""The kernel distance: against a plain double loop, and by meaning."""

from typing import Any

import numpy as np
import pytest
import torch

from common.errors import DataError
from common.metrics import kid
from common.metrics.kid import kernel_distance
from common.seeding import torch_generator


def cloud(count: int, dimension: int, seed: int) -> torch.Tensor:
    return torch.randn(count, dimension, generator=torch_generator(seed, "kid"))


@pytest.mark.parametrize(
    ("options", "degree", "gamma", "coefficient"),
    [({}, 3, 1 / 4, 1.0), ({"degree": 2, "gamma": 0.3, "coefficient": 0.5}, 2, 0.3, 0.5)],
)
def test_equals_a_double_loop_over_pairs(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], degree: int, gamma: float, coefficient: float
) -> None:
    monkeypatch.setattr(kid, "_CHUNK", 5)  # several chunks, the last one partial
    real, fake = cloud(13, 4, 0).double().numpy(), cloud(11, 4, 1).double().numpy() + 2

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((gamma * (x @ y) + coefficient) ** degree)

    def within(rows: np.ndarray) -> float:
        pairs = [kernel(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j]
        return float(np.mean(pairs))

    expected = within(real) + within(fake) - 2 * float(np.mean([kernel(x, y) for x in real for y in fake]))
    distance = kernel_distance(torch.from_numpy(real).float(), torch.from_numpy(fake).float(), **options)
    assert distance == pytest.approx(expected, rel=1e-6)
    assert distance > 0.01


def test_is_unbiased_around_zero_for_one_distribution_and_clear_of_it_for_two() -> None:
    same = [kernel_distance(cloud(100, 8, 2 * seed), cloud(100, 8, 2 * seed + 1)) for seed in range(40)]
    spread = float(np.std(same))
    assert abs(float(np.mean(same))) < 3 * spread / np.sqrt(len(same))
    assert min(same) < 0 < max(same)
    assert kernel_distance(cloud(100, 8, 0), cloud(100, 8, 1) + 0.5) > 5 * spread


def test_needs_two_vectors_of_one_kind() -> None:
    for real, fake in ((cloud(1, 3, 0), cloud(5, 3, 0)), (cloud(5, 3, 0), cloud(5, 4, 0))):
        with pytest.raises(DataError, match="N, M >= 2"):
            kernel_distance(real, fake)
