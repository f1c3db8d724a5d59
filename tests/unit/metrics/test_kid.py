"""The kernel distance: against a plain double loop, against torch-fidelity, and by meaning."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_kid import kernel_mmd

from common.errors import DataError
from common.metrics import kid
from common.metrics.kid import kernel_distance
from common.seeding import torch_generator


def cloud(count: int, dimension: int, seed: int) -> torch.Tensor:
    return torch.randn(count, dimension, generator=torch_generator(seed, "kid"))


def test_equals_a_double_loop_over_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kid, "_CHUNK", 5)  # several chunks, the last one partial
    real, fake = cloud(13, 4, 0).double().numpy(), cloud(11, 4, 1).double().numpy() + 2

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 4 + 1) ** 3)

    def within(rows: np.ndarray) -> float:
        pairs = [kernel(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j]
        return float(np.mean(pairs))

    expected = within(real) + within(fake) - 2 * float(np.mean([kernel(x, y) for x in real for y in fake]))
    distance = kernel_distance(torch.from_numpy(real).float(), torch.from_numpy(fake).float())
    assert distance == pytest.approx(expected, rel=1e-6)
    assert distance > 0.01


@pytest.mark.parametrize(("degree", "gamma", "coefficient"), [(3, None, 1.0), (2, 0.3, 0.5)])
def test_equals_torch_fidelity_on_one_whole_subset(degree: int, gamma: float | None, coefficient: float) -> None:
    real, fake = cloud(300, 32, 0), cloud(300, 32, 1) * 1.2 + 0.1
    kernel = {"kid_kernel_poly_degree": degree, "kid_kernel_poly_gamma": gamma, "kid_kernel_poly_coef0": coefficient}
    expected = kernel_mmd(real.double().numpy(), fake.double().numpy(), kid_kernel="poly", **kernel)
    distance = kernel_distance(real, fake, degree=degree, gamma=gamma, coefficient=coefficient)
    assert distance == pytest.approx(float(expected), rel=1e-9)


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
