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
def test_digest_reports_any_difference(change):
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


class TestOneVector:
    """A tree whose floating entries lie one after another is looked at as one vector."""

    def test_a_clone_and_a_mean_lie_in_order_of_their_names_and_are_not_copied(self):
        one = random_tree(3)
        for made in (tree.clone(one), tree.weighted_mean([one, one], [1, 2])):
            vector = tree.flat_vector(made)
            assert list(made) == list(one)
            assert vector.tolist() == [*one["discriminator.w"].tolist(), *one["generator.w"].reshape(-1).tolist()]
            made["generator.w"].zero_()
            assert vector[5:].abs().sum() == 0
        assert tree.digest(one) == tree.digest(random_tree(3))

    @pytest.mark.parametrize(
        "other",
        [
            {"a": torch.arange(3.0), "b": torch.arange(2.0)},
            {"a": (one := torch.arange(6.0).view(2, 3)).T, "b": one[:1]},
            {"a": (two := torch.arange(6.0))[3:], "b": two[:3]},
            {"a": two[:2], "b": two[3:]},
            {"a": two[:3], "b": two[3:].double()},
            {"a": two[:0], "b": torch.tensor(2.0), "c": torch.tensor([7])},
            {"c": torch.tensor([7])},
            {},
        ],
    )
    def test_entries_that_lie_otherwise_are_joined_all_the_same(self, other):
        floats = [value.reshape(-1) for value in other.values() if value.is_floating_point()]
        assert tree.flat_vector(other).tolist() == [number for value in floats for number in value.tolist()]
        assert tree.flat_vector(tree.FrozenTree(other)).tolist() == tree.flat_vector(other).tolist()

    def test_neighbours_by_accident_are_no_vector(self):
        block = torch.arange(8.0)
        first, second = (torch.frombuffer(block.numpy(), dtype=torch.float32, count=4, offset=16 * k) for k in (0, 1))
        assert tree.flat_vector({"a": first, "b": second}).tolist() == block.tolist()

    def test_a_part_of_a_clone_holds_on_to_all_of_it_and_its_compact_form_does_not(self):
        part = tree.select(tree.clone(random_tree(3)), ["generator"])
        assert part["generator.w"].untyped_storage().nbytes() == 4 * 17
        small = tree.without_slack(part)
        assert small["generator.w"].untyped_storage().nbytes() == 4 * 12
        assert tree.digest(small) == tree.digest(part)
        assert tree.without_slack(small) is small

    def test_only_entries_that_overlap_are_set_apart(self):
        whole = torch.arange(6.0)
        apart = tree.without_shared_storage({"a": whole[:3], "b": whole[3:], "c": whole[2:4], "d": whole[:3]})
        assert [apart[key].data_ptr() == whole[start:].data_ptr() for key, start in (("a", 0), ("b", 3))] == [
            True,
            False,
        ]
        places = [apart[key].data_ptr() for key in "abcd"]
        assert len(set(places)) == 4
        assert [apart[key].tolist() for key in "abcd"] == [[0, 1, 2], [3, 4, 5], [2, 3], [0, 1, 2]]


def test_the_mean_of_many_coordinates_is_the_sum_in_float64_in_order(monkeypatch):
    monkeypatch.setattr(tree, "_BLOCK", 5)
    trees = [random_tree(seed, offset=10.0**seed) for seed in range(4)]
    weights = [3.0, 1e-9, 0.3, 7.0]
    total = sum(w * one["generator.w"].double() for w, one in zip(weights, trees, strict=True)) / math.fsum(weights)
    assert torch.equal(tree.weighted_mean(trees, weights)["generator.w"], total.float())


def test_a_sum_that_overflows_is_no_sign_of_values_that_are_not_finite():
    large = {"g.w": torch.full((4,), 3e38), "g.v": torch.ones(2)}
    assert tree.not_finite(large) is None
    assert tree.not_finite(tree.FrozenTree(large)) is None
    assert tree.not_finite(tree.FrozenTree({**large, "g.v": torch.tensor([1.0, -math.inf])})) == "g.v"


@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e25, 0.0])
def test_the_rough_distance_is_the_distance_to_six_digits(scale):
    a, b = ({key: value * scale for key, value in random_tree(seed).items()} for seed in (1, 2))
    floats = {key: value for key, value in a.items() if value.is_floating_point()}
    assert tree.rough_distance(floats, b) == pytest.approx(tree.distance(floats, b), rel=1e-6)
