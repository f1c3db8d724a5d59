import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common import tree

WEIGHTS = st.lists(st.integers(1, 10**6), min_size=1, max_size=6)


def random_tree(seed, offset=0.0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "generator.w": torch.randn(3, 4, generator=generator) + offset,
        "discriminator.w": torch.randn(5, generator=generator) + offset,
        "discriminator.steps": torch.tensor(seed),
    }


def test_weighted_mean_is_the_weighted_mean():
    trees = [{"a.w": torch.tensor([1.0, 2.0])}, {"a.w": torch.tensor([5.0, -2.0])}]
    assert tree.weighted_mean(trees, [1, 3])["a.w"].tolist() == [4.0, -1.0]


@given(WEIGHTS)
def test_mean_of_identical_trees_is_that_tree_to_the_bit(weights):
    one = random_tree(3)
    mean = tree.weighted_mean([one] * len(weights), weights)
    assert tree.digest(mean) == tree.digest(one)


def test_mean_is_summed_in_float64():
    # In float32, 1e8 + 1 == 1e8: the small tree would vanish.
    trees = [{"a.w": torch.tensor([1e8])}, {"a.w": torch.tensor([1.0])}, {"a.w": torch.tensor([-1e8])}]
    assert tree.weighted_mean(trees, [1, 1, 1])["a.w"].item() == pytest.approx(1 / 3, rel=1e-6)


def test_integers_are_carried_not_averaged():
    mean = tree.weighted_mean([random_tree(1), random_tree(4)], [1, 1])
    assert mean["discriminator.steps"].dtype == torch.int64
    assert mean["discriminator.steps"].item() == 4


@pytest.mark.parametrize("weights", [[1.0, -1.0], [0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0], [1.0]])
def test_weights_without_meaning_are_refused(weights):
    with pytest.raises(ValueError, match="weight"):
        tree.weighted_mean([random_tree(0), random_tree(1)], weights)


def test_select_takes_whole_networks_and_no_prefix_of_a_name():
    weights = {"gen.w": torch.zeros(1), "generator.w": torch.ones(1)}
    assert list(tree.select(weights, ["gen"])) == ["gen.w"]
    assert tree.select(weights, []) == {}
    assert tree.networks_of(weights) == ("gen", "generator")


def test_interpolate_keeps_the_given_share():
    mixed = tree.interpolate({"g.w": torch.tensor([0.0])}, {"g.w": torch.tensor([8.0])}, keep=0.75)
    assert mixed["g.w"].item() == 2.0


def test_distance_is_euclidean_over_floats_only():
    a = {"g.w": torch.tensor([3.0, 0.0]), "d.w": torch.tensor([0.0]), "d.n": torch.tensor(7)}
    b = {"g.w": torch.tensor([0.0, 0.0]), "d.w": torch.tensor([4.0]), "d.n": torch.tensor(9)}
    assert tree.distance(a, b) == pytest.approx(5.0, abs=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: {**t, "generator.w": t["generator.w"].double()},
        lambda t: {**t, "generator.w": t["generator.w"].reshape(4, 3)},
        lambda t: {**t, "generator.w": torch.nextafter(t["generator.w"], torch.tensor(9.0))},
        lambda t: {**t, "extra.w": torch.zeros(1)},
    ],
)
def test_digest_tells_any_difference(change):
    one = random_tree(1)
    assert tree.digest(change(one)) != tree.digest(one)
    assert tree.digest(dict(reversed(list(one.items())))) == tree.digest(one)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_not_finite_names_the_entry(value):
    sound = random_tree(1) | {"empty.w": torch.zeros(0)}
    assert tree.not_finite(sound) is None
    broken = tree.clone(sound)
    broken["discriminator.w"][3] = value
    assert tree.not_finite(broken) == "discriminator.w"
    assert tree.not_finite({}) is None


def test_clone_shares_no_memory():
    one = random_tree(1)
    copy = tree.clone(one)
    one["generator.w"].zero_()
    assert copy["generator.w"].abs().sum() > 0
