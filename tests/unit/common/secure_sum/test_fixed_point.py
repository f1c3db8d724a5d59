"""Updates in fixed point: exact sums, known roundings, and no sum that wraps."""

import numpy as np
import pytest
import torch

from common.errors import FederationError
from common.secure_sum import FixedPoint
from common.tree import weighted_mean

ORIGIN = {"g.w": torch.tensor([0.5, -1.0]), "g.n": torch.tensor([4, 7]), "d.w": torch.tensor(1.5, dtype=torch.float64)}


def test_numbers_are_updates_in_steps_of_two_to_the_minus_bits_counted_by_weight():
    point = FixedPoint(limit=256.0, total=2**14)
    assert point.bits == 62 - 8 - 14
    arrays = {**ORIGIN, "g.w": torch.tensor([0.75, -1.5]), "g.n": torch.tensor([5, 7])}
    numbers = point.encode(arrays, ORIGIN, 3).view(np.int64).tolist()
    assert numbers == [0, 3 * 1, 0, 3 * 2**38, -3 * 2**39]  # in order of names: d.w, g.n, g.w


def test_a_half_step_is_rounded_to_the_even_one():
    point = FixedPoint(limit=1.0, total=2**42)
    arrays = {"w": torch.tensor([0.5, 1.5, -2.5]) * 2.0**-point.bits}
    assert point.encode(arrays, {"w": torch.zeros(3)}, 1).view(np.int64).tolist() == [0, 2, -2]


def test_the_mean_is_that_of_floating_point_to_its_last_digits():
    generator = torch.Generator().manual_seed(0)
    start = {"w": torch.randn(1000, generator=generator)}
    trees = [{"w": start["w"] + 0.1 * torch.randn(1000, generator=generator)} for _ in range(5)]
    weights = [600, 1, 20000, 7, 6000]
    point = FixedPoint(256.0, sum(weights))
    total = sum(point.encode(tree, start, weight) for tree, weight in zip(trees, weights, strict=True))
    mean = point.decode(total, sum(weights), start, start)["w"]
    torch.testing.assert_close(mean, weighted_mean(trees, weights)["w"], rtol=3e-7, atol=2.0 ** -(point.bits - 1))


def test_integers_on_which_clients_agree_are_exact_and_others_are_rounded_up():
    point = FixedPoint(256.0, 10)
    same = {**ORIGIN, "g.n": torch.tensor([2**40, 9])}
    other = {**ORIGIN, "g.n": torch.tensor([2**40, 10])}
    total = point.encode(same, ORIGIN, 9) + point.encode(other, ORIGIN, 1)
    assert point.decode(total, 10, ORIGIN, ORIGIN)["g.n"].tolist() == [2**40, 10]
    assert point.decode(point.encode(same, ORIGIN, 9), 9, ORIGIN, ORIGIN)["g.n"].tolist() == [2**40, 9]


def test_keys_shapes_and_types_are_those_of_the_tree():
    point = FixedPoint(256.0, 10)
    mean = point.decode(point.encode(ORIGIN, {}, 2), 2, ORIGIN, {})
    assert {k: (v.shape, v.dtype) for k, v in mean.items()} == {k: (v.shape, v.dtype) for k, v in ORIGIN.items()}
    assert list(mean) == list(ORIGIN)
    torch.testing.assert_close(mean, ORIGIN, rtol=0, atol=0)


def test_the_largest_updates_of_all_clients_do_not_wrap():
    weights = [30_000, 20_000, 10_001]
    point = FixedPoint(256.0, sum(weights))
    start = {"w": torch.zeros(2)}
    arrays = {"w": torch.tensor([256.0, -256.0])}
    total = sum(point.encode(arrays, start, weight) for weight in weights)
    assert point.decode(total, sum(weights), start, start)["w"].tolist() == [256.0, -256.0]
    assert abs(int(total.view(np.int64)[0])) <= 2**62


@pytest.mark.parametrize("update", [256.1, -300.0])
def test_a_larger_update_is_refused_by_name(update):
    with pytest.raises(FederationError, match=r"g\.w has changed by more than 256, "):
        FixedPoint(256.0, 10).encode({"g.w": torch.tensor([0.0, update])}, {"g.w": torch.zeros(2)}, 1)


def test_a_counter_that_could_wrap_is_refused_by_name():
    with pytest.raises(FederationError, match=r"g\.n has changed by more than"):
        FixedPoint(256.0, 10).encode({"g.n": torch.tensor([2**60])}, {}, 1)


def test_too_few_digits_are_refused_with_the_way_out():
    with pytest.raises(FederationError, match="smaller range"):
        FixedPoint(2.0**30, 2**20).bits  # noqa: B018 (raises)
