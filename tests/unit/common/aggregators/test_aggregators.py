"""Contract of every aggregator, and what each of them means."""

import itertools
import math

import numpy as np
import pytest
import torch

from common import tree
from common.aggregators import AGGREGATORS, Mean
from common.components import parse
from common.config import RunConfig
from common.config_sections import FederationConfig
from common.errors import ConfigError, FederationError

VARIANTS = {
    "trimmed-mean": ["beta=0.2", "beta=0.34"],
    "krum": ["f=1", "f=2"],
    "multi-krum": ["f=1", "f=2 m=3", "f=1 m=1"],
    "norm-clipped": ["ratio=1", "ratio=1.5"],
}
SPECS = [f"{name} {options}".strip() for name in AGGREGATORS for options in VARIANTS.get(name, [""])]
MEANS = ("mean", "secure-mean")  # the second of what is unmasked already: test_secure_mean.py
ROBUST = [spec for spec in SPECS if spec not in MEANS]
ORIGIN = {
    "generator.w": torch.tensor([[0.5, -1.0, 2.0], [0.0, 3.0, -0.25]]),
    "generator.n": torch.tensor([4, 7]),
    "discriminator.w": torch.tensor(-1.5, dtype=torch.float64),
}


def make(spec):
    return parse("aggregate", AGGREGATORS, spec)


def clients(number, seed=0, spread=0.5):
    """Trees around a common step away from ``ORIGIN``, on a grid of 2^-12: sums of theirs are exact in float64."""
    generator = torch.Generator().manual_seed(seed)

    def moved(value):
        if not value.is_floating_point():
            return torch.randint(0, 100, value.shape, generator=generator)
        step = 1 + spread * torch.randn(value.shape, generator=generator, dtype=torch.float64)
        return ((value + step) * 4096).round().div(4096).to(value.dtype)

    return [{key: moved(value) for key, value in ORIGIN.items()} for _ in range(number)]


def flat(weights):
    return np.concatenate([v.double().numpy().ravel() for v in weights.values() if v.is_floating_point()])


def rows(trees):
    return np.stack([flat(one) for one in trees])


def combine(spec, trees, weights=None, origin=ORIGIN):
    return make(spec).combine(trees, weights or [1.0] * len(trees), origin)


def krum_order(matrix, f):
    """Blanchard et al. in their own words."""
    squares = ((matrix[:, None] - matrix[None]) ** 2).sum(-1)
    scores = [np.sort(np.delete(row, i))[: len(matrix) - f - 2].sum() for i, row in enumerate(squares)]
    return np.argsort(scores, kind="stable")


def clipped(matrix, origin, ratio):
    norms = np.linalg.norm(matrix - origin, axis=1)
    return origin + ((matrix - origin) * np.minimum(1, ratio * np.median(norms) / norms)[:, None]).mean(0)


REFERENCES = {
    "mean": lambda m, w, o: np.average(m, axis=0, weights=w),
    "secure-mean": lambda m, w, o: np.average(m, axis=0, weights=w),
    "median": lambda m, w, o: np.median(m, axis=0),
    "trimmed-mean beta=0.2": lambda m, w, o: np.sort(m, axis=0)[len(m) // 5 : len(m) - len(m) // 5].mean(0),
    "trimmed-mean beta=0.34": lambda m, w, o: np.sort(m, axis=0)[int(0.34 * len(m)) : -int(0.34 * len(m))].mean(0),
    "krum f=1": lambda m, w, o: m[krum_order(m, 1)[0]],
    "krum f=2": lambda m, w, o: m[krum_order(m, 2)[0]],
    "multi-krum f=1": lambda m, w, o: m[krum_order(m, 1)[: len(m) - 1]].mean(0),
    "multi-krum f=2 m=3": lambda m, w, o: m[krum_order(m, 2)[:3]].mean(0),
    "multi-krum f=1 m=1": lambda m, w, o: m[krum_order(m, 1)[0]],
    "norm-clipped ratio=1": lambda m, w, o: clipped(m, o, 1.0),
    "norm-clipped ratio=1.5": lambda m, w, o: clipped(m, o, 1.5),
}


@pytest.mark.parametrize("number", [7, 8, 10])
@pytest.mark.parametrize("spec", SPECS)
def test_equals_two_lines_of_numpy(spec, number):
    trees, weights = clients(number, seed=number, spread=2.0), [float(1 + k % 4) for k in range(number)]
    expected = REFERENCES[spec](rows(trees), weights, flat(ORIGIN))
    np.testing.assert_allclose(flat(combine(spec, trees, weights)), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("spec", SPECS)
def test_identical_clients_give_their_weights_to_the_bit(spec):
    one = {k: v / 3 if v.is_floating_point() else v + 1 for k, v in clients(1)[0].items()}
    number = make(spec).min_replies() + 1
    result = combine(spec, [one] * number, [float(k + 1) for k in range(number)])
    assert tree.digest(result) == tree.digest(one)


@pytest.mark.parametrize("spec", SPECS)
def test_keys_shapes_and_dtypes_stay_and_inputs_are_not_written_to(spec):
    trees = clients(8)
    before = [tree.digest(one) for one in (*trees, ORIGIN)]
    result = combine(spec, trees)
    assert list(result) == list(ORIGIN)
    assert all(result[k].shape == v.shape and result[k].dtype == v.dtype for k, v in ORIGIN.items())
    assert [tree.digest(one) for one in (*trees, ORIGIN)] == before


@pytest.mark.parametrize("spec", SPECS)
def test_who_is_first_does_not_matter(spec):
    trees, weights = clients(7, seed=5), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    trees = [{k: v.float() if v.is_floating_point() else v for k, v in one.items()} for one in trees]
    origin = {k: v.float() if v.is_floating_point() else v for k, v in ORIGIN.items()}
    expected = tree.digest(combine(spec, trees, weights, origin))
    for order in itertools.islice(itertools.permutations(range(7)), 0, None, 500):
        shuffled = combine(spec, [trees[k] for k in order], [weights[k] for k in order], origin)
        assert tree.digest(shuffled) == expected


@pytest.mark.parametrize("spec", ROBUST)
def test_robust_ones_give_each_client_one_vote(spec):
    trees = clients(8)
    assert tree.digest(combine(spec, trees, [1.0] * 7 + [1e9])) == tree.digest(combine(spec, trees))


def test_the_mean_believes_the_number_of_images():
    trees = clients(3)
    result = flat(combine("mean", trees, [1.0, 1.0, 1e12]))
    np.testing.assert_allclose(result, flat(trees[2]), rtol=1e-6)


@pytest.mark.parametrize("where", [0, 3, 7])
@pytest.mark.parametrize("wild", [1e30, -1e30])
@pytest.mark.parametrize("spec", SPECS)
def test_one_wild_client_leads_the_mean_away_and_no_other(spec, wild, where):
    honest, weights = clients(7), [1.0] * 8
    outlier = {k: v * wild if v.is_floating_point() else v for k, v in clients(1, seed=9)[0].items()}
    result = flat(combine(spec, [*honest[:where], outlier, *honest[where:]], weights))
    matrix, origin = rows(honest), flat(ORIGIN)
    if spec in MEANS:
        assert np.abs(result).max() > 1e28
    elif spec.startswith("norm-clipped"):  # a bound on the length of the round's step, not on each coordinate
        longest = np.linalg.norm(matrix - origin, axis=1).max()
        assert np.linalg.norm(result - origin) <= make(spec).ratio * longest
    else:
        assert (result >= matrix.min(0)).all()
        assert (result <= matrix.max(0)).all()


@pytest.mark.parametrize("spec", ["krum f=2", "multi-krum f=2", "median", "trimmed-mean beta=0.25"])
def test_as_many_colluding_clients_as_promised_stay_without_effect(spec):
    honest = clients(6)
    liar = {k: v - 50 if v.is_floating_point() else v for k, v in ORIGIN.items()}
    result, matrix = flat(combine(spec, [liar, *honest, liar])), rows(honest)
    assert (result >= matrix.min(0)).all()
    assert (result <= matrix.max(0)).all()


def test_a_clipped_client_moves_the_mean_by_its_share_of_a_median_step():
    lengths = (1.0, 1.0, 1.0, 1000.0)
    step = [{k: v + length if v.is_floating_point() else v for k, v in ORIGIN.items()} for length in lengths]
    np.testing.assert_allclose(flat(combine("norm-clipped", step)), flat(step[0]), rtol=1e-6)
    np.testing.assert_allclose(
        flat(combine("norm-clipped ratio=3", step)), flat(ORIGIN) + (1 + 1 + 1 + 3) / 4, rtol=1e-6
    )


def test_clients_that_stand_still_are_no_division_by_zero():
    result = combine("norm-clipped", [ORIGIN, ORIGIN, ORIGIN, clients(1)[0]])
    assert np.array_equal(flat(result), flat(ORIGIN))


def test_krum_sees_distances_far_smaller_than_the_weights():
    """From Gram matrices, whose entries are 1e18 here, all of these distances would be zero or noise."""
    values = [1e9, 1e9 + 1, 1e9 + 2, 1e9 + 3, 1e9 + 40]
    trees = [{"generator.w": torch.tensor([v], dtype=torch.float64)} for v in values]
    assert combine("krum f=1", trees)["generator.w"].item() == values[1]
    assert combine("multi-krum f=1", trees)["generator.w"].item() == 1e9 + 1.5


def test_krum_sums_the_n_minus_f_minus_2_closest_and_gives_a_tie_to_the_lower_partition():
    # Five clients, f = 1: two closest others count. 0 and 1: 1 + 4 and 1 + 1; 2 mirrors 0, so 1 wins; with the third
    # closest counted, too, 2 would win.
    trees = [{"generator.w": torch.tensor([v])} for v in (0.0, 1.0, 2.0, 4.5, 50.0)]
    assert combine("krum f=1", trees)["generator.w"].item() == 1.0
    pairs = [{"generator.w": torch.tensor([v])} for v in (3.0, 2.0, 1.0, 0.0, 99.0)]  # 2 and 1 have equal sums
    assert combine("krum f=1", pairs)["generator.w"].item() == 2.0
    assert combine("krum f=1", pairs[::-1])["generator.w"].item() == 1.0


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("mean", 9),  # the largest
        ("median", 3),
        ("trimmed-mean beta=0.2", 3),
        ("norm-clipped", 3),
        ("krum f=1", 5),  # that of the client it takes
        ("multi-krum f=1 m=3", 2),  # of the three that it averages: 1, 2, 5
        ("multi-krum f=1 m=4", 2),  # the lower of the two in the middle
    ],
)
def test_integers_are_never_averaged(spec, expected):
    values, counts = (0.0, 1.0, 2.0, 4.0, 50.0, 60.0), (1, 2, 5, 3, 9, 4)
    trees = [{"g.w": torch.tensor([v]), "g.n": torch.tensor([n])} for v, n in zip(values, counts, strict=True)]
    result = combine(spec, trees, origin={"g.w": torch.zeros(1), "g.n": torch.tensor([0])})["g.n"]
    assert (result.tolist(), result.dtype) == ([expected], torch.int64)


def test_a_beta_of_0_29_cuts_29_of_100():
    trees = [{"g.w": torch.tensor([v])} for v in [0.0] * 29 + [1.0] * 42 + [1000.0] * 29]
    assert combine("trimmed-mean beta=0.29", trees)["g.w"].item() == 1.0  # 0.29 * 100 is 28.999... in floating point


@pytest.mark.parametrize(
    ("spec", "replies"),
    [
        ("mean", 1),
        ("median", 3),
        ("trimmed-mean", 5),
        ("trimmed-mean beta=0.1", 10),
        ("trimmed-mean beta=0.3", 4),
        ("trimmed-mean beta=0.4999", 3),
        ("krum", 5),
        ("krum f=2", 7),
        ("multi-krum", 5),
        ("multi-krum f=2 m=3", 7),
        ("multi-krum f=1 m=9", 10),
        ("norm-clipped", 3),
    ],
)
def test_fewer_replies_than_its_name_needs_are_refused(spec, replies):
    assert make(spec).min_replies() == replies
    combine(spec, clients(replies))
    with pytest.raises(FederationError, match=rf"needs {replies} replies, there are {replies - 1}"):
        combine(spec, clients(replies - 1))


def test_a_trimmed_mean_of_the_fewest_replies_trims_somebody():
    for beta in (0.01, 0.07, 0.1, 0.3, 1 / 3, 0.4999):
        aggregator = AGGREGATORS["trimmed-mean"](beta=beta)
        values = [0.0] * (aggregator.min_replies() - 1) + [1.0]
        assert aggregator.combine([{"g.w": torch.tensor([v])} for v in values], values, {})["g.w"].item() == 0.0


def test_one_weight_a_tree():
    with pytest.raises(ValueError, match="3 trees and 2 weights"):
        combine("median", clients(3), [1.0, 1.0])


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("trimmed-mean beta=0", ["beta='0'", "greater than 0"]),
        ("trimmed-mean beta=0.5", ["beta='0.5'", "less than 0.5"]),
        ("krum f=0", ["f='0'", "greater than or equal to 1"]),
        ("multi-krum f=0", ["f='0'", "greater than or equal to 1"]),
        ("multi-krum m=-1", ["m='-1'", "greater than or equal to 0"]),
        ("norm-clipped ratio=0.5", ["ratio='0.5'", "greater than or equal to 1"]),
        ("norm-clipped ratio=inf", ["ratio='inf'", "finite"]),
        ("crum", ["did you mean 'krum'", "trimmed-mean"]),
    ],
)
def test_settings_that_mean_nothing_are_refused(spec, words):
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_flat({"aggregate": spec})
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "clients", "fraction", "message"),
    [
        ("krum f=2", 5, 1.0, "5 with federation.fraction=1 gives 5: more clients or f <= 1"),
        ("krum f=2", 10, 0.5, "10 with federation.fraction=0.5 gives 5: more clients, a larger fraction or f <= 1"),
        ("krum", 4, 1.0, "gives 4: more clients or another aggregate"),
        ("multi-krum f=3 m=6", 8, 1.0, "gives 8: more clients or f <= 2"),
        ("multi-krum f=3 m=7", 8, 1.0, "gives 8: more clients or f <= 2 and m <= 6"),
        ("multi-krum f=1 m=9", 9, 1.0, "gives 9: more clients or m <= 8"),
        ("trimmed-mean beta=0.1", 7, 1.0, "gives 7: more clients or beta >= 0.143"),
        ("median", 2, 1.0, "gives 2: more clients or another aggregate"),
        ("trimmed-mean", 2, 1.0, "gives 2: more clients or another aggregate"),
    ],
)
def test_a_cohort_too_small_for_the_aggregator_is_refused_with_the_way_out(spec, clients, fraction, message):
    values = {"federation.num-clients": clients, "federation.fraction": fraction}
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_flat(values | {"aggregate": spec})
    needed = make(spec).min_replies()
    assert f"needs {needed} replies a round, federation.num-clients={clients} with" in str(caught.value)
    assert str(caught.value).endswith(message)
    assert caught.value.exit_code == 2
    more = math.ceil(needed / fraction)
    assert RunConfig.from_flat(values | {"aggregate": spec, "federation.num-clients": more}).aggregator == make(spec)


@pytest.mark.parametrize("spec", ["krum f=4", "trimmed-mean beta=0.01", "multi-krum f=4 m=9"])
@pytest.mark.parametrize("replies", [5, 6, 7, 9])
def test_what_is_advised_would_do(spec, replies):
    name, advice = spec.partition(" ")[0], make(spec).advice(replies)
    options = " ".join(part.replace(" <= ", "=").replace(" >= ", "=") for part in advice.split(" and "))
    assert make(f"{name} {options}").min_replies() <= replies


@pytest.mark.parametrize(("number", "fraction", "size"), [(10, 1.0, 10), (5, 0.5, 3), (10, 0.24, 2), (3, 0.01, 1)])
def test_the_cohort_is_the_fraction_of_clients_halves_up(number, fraction, size):
    assert FederationConfig(num_clients=number, fraction=fraction).cohort_size == size


def test_the_default_is_the_mean():
    assert RunConfig().aggregator == Mean()
