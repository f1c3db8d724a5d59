"""Precision, recall, density, coverage: against the authors' package, and by meaning."""

import math

import prdc as reference
import pytest
import torch

from common.errors import DataError
from common.metrics.prdc import neighbour_radii, per_class_recall, prdc
from common.seeding import torch_generator

CENTRES = 40.0 * torch.eye(10)  # ten "digits", far from each other


def cloud(count: int, dimension: int, seed: int) -> torch.Tensor:
    return torch.randn(count, dimension, generator=torch_generator(seed, "prdc"))


def digits(labels: torch.Tensor, seed: int) -> torch.Tensor:
    """Returns one feature vector a label, near that digit's centre."""
    return CENTRES[labels] + cloud(len(labels), 10, seed)


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_equals_the_authors_package(k: int, shift: float) -> None:
    real, fake = cloud(1100, 6, 0), cloud(300, 6, 1) * 0.8 + shift  # more reals than one chunk holds
    expected = reference.compute_prdc(real.double().numpy(), fake.double().numpy(), nearest_k=k)
    values = prdc(real, fake, k)
    assert values == pytest.approx({name: float(value) for name, value in expected.items()}, abs=1e-12)
    assert 0.1 < values["coverage"] < 1
    assert prdc(real, fake, k, real_radii=neighbour_radii(real, k)) == values


def test_of_a_set_with_itself_is_perfect() -> None:
    real = cloud(200, 6, 0)
    values = prdc(real, real)
    assert values["precision"] == values["recall"] == values["coverage"] == 1.0
    # a point lies in its own ball, and in those of the others it is among the k - 1 nearest of, on average
    assert values["density"] == pytest.approx(1.0, abs=1e-12)


def test_of_sets_far_apart_is_zero() -> None:
    assert set(prdc(cloud(100, 6, 0), cloud(100, 6, 1) + 100).values()) == {0.0}


def test_a_generator_collapsed_to_one_digit_is_precise_but_recalls_little() -> None:
    truth = torch.arange(1000) % 10
    values = prdc(digits(truth, 0), digits(torch.full((1000,), 3), 1))
    assert values["precision"] > 0.6
    assert 0.05 < values["recall"] <= 0.1
    assert values["coverage"] <= 0.1


def test_a_generator_of_noise_between_digits_recalls_but_is_not_precise() -> None:
    truth = torch.arange(500) % 10
    values = prdc(digits(truth, 0), cloud(500, 10, 1) * 30)
    assert values["precision"] < 0.05
    assert values["recall"] > 0.9


def test_per_class_recall_names_the_missing_digits() -> None:
    truth = torch.arange(1000) % 10
    recalls = per_class_recall(digits(truth, 0), truth, digits(torch.arange(1000) % 8, 1))
    assert recalls[8:] == [0.0, 0.0]
    assert min(recalls[:8]) > 0.7


def test_per_class_recall_averages_to_recall_whatever_the_class_sizes() -> None:
    truth = (cloud(600, 1, 2).flatten().abs() * 3).long().clamp(max=9)
    real, fake = digits(truth, 0), digits(torch.arange(400) % 10, 1)
    recalls = per_class_recall(real, truth, fake, num_classes=11)
    sizes = torch.bincount(truth, minlength=11)
    assert math.isnan(recalls[10])  # a class without real images
    weighted = sum(share * int(size) for share, size in zip(recalls, sizes, strict=True) if size) / len(truth)
    assert weighted == pytest.approx(prdc(real, fake)["recall"], abs=1e-12)


def test_radii_are_squared_distances_to_the_kth_other_vector() -> None:
    points = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert neighbour_radii(points, 1).tolist() == [1.0, 1.0, 4.0, 16.0]
    assert neighbour_radii(points, 3).tolist() == [49.0, 36.0, 16.0, 49.0]


def test_unusable_sets_are_refused() -> None:
    with pytest.raises(DataError, match="5 feature vectors have no neighbour number 5"):
        prdc(cloud(5, 3, 0), cloud(50, 3, 0))
    with pytest.raises(DataError, match=r"\(9, 3\) and \(9, 4\)"):
        prdc(cloud(9, 3, 0), cloud(9, 4, 0))
    with pytest.raises(DataError, match=r"outside \[0, 10\)"):
        per_class_recall(cloud(9, 3, 0), torch.full((9,), 10), cloud(9, 3, 1))
    with pytest.raises(DataError, match=r"labels of shape \(8,\)"):
        per_class_recall(cloud(9, 3, 0), torch.zeros(8, dtype=torch.int64), cloud(9, 3, 1))
