"""Modes: counts and divergences by hand, and what the classifier reads in stacked digits."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from common.datasets import DATASETS
from common.errors import DataError
from common.examples import ImageSpec
from common.metrics import Comparison, Names, Reference, Sample, make_extractor
from common.metrics.base import Course
from common.metrics.modes import MODES, combinations, modes, read_digits


@pytest.fixture(scope="module")
def held_out():
    return DATASETS["stacked-mnist"]().load(None).test


def test_a_combination_is_read_as_a_number() -> None:
    assert combinations(torch.tensor([[3, 0, 7], [0, 0, 0], [9, 9, 9], [0, 4, 2]])).tolist() == [307, 0, 999, 42]


def test_counts_and_divergence_are_what_one_computes_by_hand() -> None:
    # Of four modes three occur, with shares 1/2, 1/4, 1/4: sum p ln 4p = 1/2 ln 2 + 0 + 0.
    count, divergence = modes(torch.tensor([0, 2, 0, 3]), 4)
    assert count == 3
    assert divergence == pytest.approx(0.5 * math.log(2), rel=1e-12)


def test_even_modes_have_no_divergence_and_a_single_one_has_the_most() -> None:
    assert modes(torch.arange(1000).repeat(26)) == (1000, pytest.approx(0.0, abs=1e-12))
    assert modes(torch.full((26_000,), 123)) == (1, pytest.approx(math.log(1000), rel=1e-12))


def test_divergence_equals_scipys() -> None:
    found = torch.from_numpy(np.random.default_rng(0).binomial(999, 0.3, 5000))
    shares = torch.bincount(found, minlength=1000).numpy() / 5000
    count, divergence = modes(found)
    assert count == int((shares > 0).sum())
    assert divergence == pytest.approx(float(scipy.stats.entropy(shares, np.full(1000, 1e-3))), rel=1e-9)


@pytest.mark.parametrize("found", [[], [1000], [-1, 3]])
def test_refuses_what_are_no_modes(found: list[int]) -> None:
    with pytest.raises(DataError, match=r"in \[0, 1000\)"):
        modes(torch.tensor(found, dtype=torch.int64))


def test_each_channel_is_read_by_itself(held_out) -> None:
    read = read_digits(held_out.images)
    assert float((read[:, 0] == held_out.labels).double().mean()) > 0.98
    turned = read_digits(held_out.images.flip(1))
    assert torch.equal(turned, read.flip(1))
    features = make_extractor("mnist-cnn-channels")(held_out.images)
    assert torch.equal(read_digits(held_out.images, features), read)


def test_real_pictures_have_as_many_modes_as_chance_gives_so_many(held_out) -> None:
    # 2,000 draws of 1,000: 1000 (1 - e^-2) = 865 occur; plug-in divergence about 999/4000 = 0.25, and the digits' own.
    scores = MODES.compute(compared(held_out.images, None))
    assert 835 < scores["modes"] < 885
    assert 0.22 < scores["modes-kl"] < 0.36


def test_scores_are_the_same_with_any_extractor(held_out) -> None:
    images = held_out.images[:200]
    names = (None, "mnist-cnn-channels", "random-vgg")
    found = [MODES.compute(compared(images, name and make_extractor(name))) for name in names]
    assert found[0] == found[1] == found[2]


def test_a_fall_is_a_collapse_and_a_wobble_is_none() -> None:
    def course(*values: float) -> Course:
        return Course([(k, {"modes": value}) for k, value in enumerate(values, start=1)], {})

    assert MODES.troubles(course(500.0)) is None
    assert MODES.troubles(course(40.0, 3.0)) == []  # there was little to lose
    assert MODES.troubles(course(500.0, 310.0)) == []
    (trouble,) = MODES.troubles(course(300.0, 500.0, 290.0))
    assert (trouble.kind, trouble.round) == ("collapse", 3)
    assert "500 combinations of digits in round 2, and makes 290 now" in trouble.words


def test_missing_combinations_are_a_weak_spot() -> None:
    assert MODES.weak_spots({"modes": 940.0}, Names()) == [
        "It makes 940 of 1,000 combinations of three digits, and none of the others."
    ]
    assert MODES.weak_spots({"modes": 1000.0}, Names()) == MODES.weak_spots({}, Names()) == []


def compared(images, extractor) -> Comparison:
    labels = torch.zeros(len(images), dtype=torch.int64)
    spec = ImageSpec(3, images.shape[-1], 10)
    return Comparison(Reference(images, labels, spec, extractor), Sample(images, labels, spec, extractor), 0)
