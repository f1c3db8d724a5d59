"""Logistic regression on pixels: what it finds, and the reference."""

import pytest
import torch

from common.metrics.logistic import logistic_accuracy
from common.seeding import torch_generator


def pictures(num, seed):
    """Three overlapping classes of grey images, each brighter on average in rows of its own."""
    generator = torch_generator(seed, "pictures")
    labels = torch.arange(num) % 3
    noise = torch.randint(0, 200, (num, 1, 9, 9), generator=generator)
    for label in range(3):
        noise[labels == label, :, 3 * label : 3 * label + 3] += 15
    return noise.to(torch.uint8), labels


def test_it_is_as_right_as_the_reference():
    # scikit-learn 1.9.1: LogisticRegression().fit(x.reshape(60, -1) / 255, y).score(...) of these images: 0.52
    found = logistic_accuracy(*pictures(60, 0), *pictures(400, 1), num_classes=3)
    assert found == pytest.approx(0.52, abs=0.0026)
    without_penalty = logistic_accuracy(*pictures(60, 0), *pictures(400, 1), num_classes=3, penalty=1e-6)
    assert without_penalty != found


def test_classes_that_a_plane_parts_are_told_apart_in_two_chunks_and_the_same_each_time():
    generator = torch_generator(0, "parted")
    labels = torch.arange(5400) % 3
    images = torch.randint(0, 100, (5400, 1, 4, 4), generator=generator)
    images[torch.arange(5400), 0, 0, labels] += 150
    images = images.to(torch.uint8)
    first, second = (logistic_accuracy(images, labels, images, labels, num_classes=3) for _ in range(2))
    assert first == second == 1.0
