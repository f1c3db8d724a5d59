"""The mean over steps, against sums by hand."""

import pytest
import torch

from client.step_average import StepAverage


def walk(average, weights, values):
    for value in values:
        weights["w"].fill_(value)
        weights["n"] += 1
        average.take()


def started():
    return {"w": torch.zeros(2), "n": torch.tensor(0)}


def test_it_is_the_mean_whose_weights_fall_by_the_decay_a_step_and_of_counters_the_last():
    weights = started()
    average = StepAverage(weights, 0.5)
    walk(average, weights, [1.0, 2.0, 4.0])  # (1/4 * 1 + 1/2 * 2 + 1 * 4) / (1/4 + 1/2 + 1)
    found = average.tree()
    assert found["w"].tolist() == pytest.approx([3.0, 3.0], rel=1e-6)
    assert int(found["n"]) == 3
    walk(average, weights, [9.0])  # what was returned stays as it was
    assert found["w"].tolist() == pytest.approx([3.0, 3.0], rel=1e-6)
    assert average.tree()["w"].tolist() == pytest.approx([5.25 / 1.875 * 0.5 + 9 / 1.875] * 2, rel=1e-6)


def test_after_one_step_and_without_memory_it_is_the_last_weights_to_the_bit():
    for decay, values in ((0.9, [0.1]), (0.0, [5.0, 0.3, 0.1])):
        weights = started()
        average = StepAverage(weights, decay)
        walk(average, weights, values)
        assert torch.equal(average.tree()["w"], weights["w"])


def test_those_of_several_clients_are_taken_together_to_the_bit_as_each_by_itself():
    alone = [started() for _ in range(3)]
    together = {"w": torch.zeros(3, 2), "n": torch.zeros(3, dtype=torch.int64)}
    one, averages = StepAverage(together, 0.7), [StepAverage(weights, 0.7) for weights in alone]
    for step in range(4):
        for k, weights in enumerate(alone):
            weights["w"].fill_(0.1 * step * k)
            together["w"][k] = 0.1 * step * k
            averages[k].take()
        one.take()
    for k, average in enumerate(averages):
        assert torch.equal(one.row(k).tree()["w"], average.tree()["w"])
