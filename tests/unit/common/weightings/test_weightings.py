"""Weights of clients: contract of all weightings, and what is special about each."""

import math

import pytest
import torch
from scipy import stats

from common.algorithms import Client, Reply
from common.errors import ConfigError, DataError, FederationError
from common.weightings import WEIGHTINGS
from common.weightings.base import label_divergences, softmax
from common.weightings.mmd import BANDWIDTHS, gaussian_mmd
from server.records import journal, run_directory
from simulations.runtime.in_process import simulate

COUNTS = {0: (5, 5, 0), 1: (0, 0, 20), 2: (4, 2, 4), 3: (1, 0, 0)}
CLIENTS = {k: Client(sum(counts), counts) for k, counts in COUNTS.items()}
REPLIES = [Reply(k, client.num_examples, {}, {"mmd": 0.1 * k}) for k, client in CLIENTS.items()]


def shares(weights):
    return [weight / math.fsum(weights) for weight in weights]


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_weights_are_finite_not_negative_and_not_all_zero(name):
    for replies in (REPLIES, REPLIES[1:3], REPLIES[3:]):
        weights = WEIGHTINGS[name]().weigh(replies, CLIENTS)
        assert len(weights) == len(replies)
        assert all(math.isfinite(weight) and weight >= 0 for weight in weights)
        assert sum(weights) > 0


@pytest.mark.parametrize("name", [name for name, kind in WEIGHTINGS.items() if kind.needs_label_counts])
def test_a_client_that_keeps_its_labels_to_itself_is_named(name):
    clients = CLIENTS | {2: Client(10)}
    with pytest.raises(FederationError, match="partition 2 has not said"):
        WEIGHTINGS[name]().weigh(REPLIES[:1], clients)


def test_divergences_are_those_of_scipy_from_the_pool_of_all_clients():
    pooled = [sum(column) for column in zip(*COUNTS.values(), strict=True)]
    expected = [stats.entropy(COUNTS[k], pooled) for k in (1, 2)]
    assert label_divergences(REPLIES[1:3], CLIENTS) == pytest.approx(expected, rel=1e-12)
    same = {k: Client(10 * k, (5 * k, 3 * k, 2 * k)) for k in (1, 2, 7)}
    assert label_divergences([Reply(k, 10 * k, {}) for k in same], same) == pytest.approx([0, 0, 0], abs=1e-12)


def test_kl_typical_is_images_times_the_exponent_of_minus_the_divergence():
    first, second, *_ = WEIGHTINGS["kl-typical"]().weigh(REPLIES, CLIENTS)
    # the pool is (10, 7, 24) of 41
    assert first == pytest.approx(10 * math.exp(-(0.5 * math.log(0.5 * 41 / 10) + 0.5 * math.log(0.5 * 41 / 7))))
    assert second == pytest.approx(20 * 24 / 41)
    even = {k: Client(n, (n // 2, n // 2)) for k, n in enumerate((2, 6))}
    replies = [Reply(k, client.num_examples, {}) for k, client in even.items()]
    assert WEIGHTINGS["kl-typical"]().weigh(replies, even) == WEIGHTINGS["examples"]().weigh(replies, even)


def test_kl_skewed_is_the_softmax_of_the_divergence_times_the_share_of_all_images():
    weights = WEIGHTINGS["kl-skewed"]().weigh(REPLIES[1:3], CLIENTS)
    typical = stats.entropy(COUNTS[2], (10, 7, 24))
    expected = [math.exp(math.log(41 / 24) * 20 / 41), math.exp(typical * 10 / 41)]
    assert shares(weights) == pytest.approx(shares(expected))
    assert weights[0] / weights[1] <= math.exp(1 / math.e)


def test_the_two_kl_weightings_disagree_in_sign():
    clients = {0: Client(10, (10, 0)), 1: Client(10, (6, 4)), 2: Client(10, (0, 10))}
    replies = [Reply(k, 10, {}) for k in clients]
    typical, skewed = (WEIGHTINGS[name]().weigh(replies, clients) for name in ("kl-typical", "kl-skewed"))
    assert typical[1] > typical[0] > 0
    assert skewed[1] < skewed[0]


def test_mmd_counts_the_less_converged_more_and_equal_ones_the_same():
    weighting = WEIGHTINGS["mmd"](temperature=0.5)
    weights = weighting.weigh([Reply(k, 10**k, {}, {"mmd": value}) for k, value in enumerate((0.3, 0.1))], {})
    assert weights[0] / weights[1] == pytest.approx(math.exp(0.2 / 0.5))
    assert weighting.weigh([Reply(k, 10**k, {}, {"mmd": 0.7}) for k in range(4)], {}) == [0.25] * 4


@pytest.mark.parametrize(
    ("said", "believed"), [(-3.0, 0.0), (math.nan, 0.0), (math.inf, 0.0), (-math.inf, 0.0), (1e300, 2.0), (0.4, 0.4)]
)
def test_what_a_client_says_of_its_mmd_is_believed_within_bounds_only(said, believed):
    replies = [Reply(0, 1, {}, {"mmd": said}), Reply(1, 1, {}, {"mmd": 0.2}), Reply(2, 1, {})]
    weights = WEIGHTINGS["mmd"]().weigh(replies, {})
    assert weights == pytest.approx(softmax([believed, 0.2, 0.0]))


def test_softmax_survives_large_scores():
    assert softmax([1000.0, 1000.0 + math.log(3)]) == pytest.approx([0.25, 0.75])


def reference_mmd(x, y):
    """Returns the definition, pair by pair."""
    both = torch.cat([x, y]).tolist()
    square = lambda a, b: sum((u - v) ** 2 for u, v in zip(a, b, strict=True))  # noqa: E731
    pairs = sorted(square(a, b) for i, a in enumerate(both) for b in both[:i])
    median = pairs[(len(pairs) - 1) // 2]
    k = lambda a, b: sum(math.exp(-square(a, b) / (2 * f * median)) for f in BANDWIDTHS) / len(BANDWIDTHS)  # noqa: E731
    x, y = x.tolist(), y.tolist()
    within = [sum(k(a, b) for a in s for b in s if a is not b) / (len(s) * (len(s) - 1)) for s in (x, y)]
    return sum(within) - 2 * sum(k(a, b) for a in x for b in y) / (len(x) * len(y))


def test_the_estimate_is_that_of_the_definition_and_does_not_depend_on_which_set_is_real():
    source = torch.Generator().manual_seed(0)
    x, y = torch.randn(5, 3, generator=source), torch.randn(7, 3, generator=source) + 0.5
    assert gaussian_mmd(x, y) == pytest.approx(reference_mmd(x, y), rel=1e-9)
    assert gaussian_mmd(x, y) == pytest.approx(gaussian_mmd(y, x), rel=1e-12)
    assert gaussian_mmd(x * 1000, y * 1000) == pytest.approx(gaussian_mmd(x, y), rel=1e-6)  # as the widths follow
    assert gaussian_mmd(x.view(5, 1, 3), y.view(7, 3, 1)) == gaussian_mmd(x, y)


def test_the_estimate_is_unbiased_and_grows_with_the_difference():
    source = torch.Generator().manual_seed(1)
    draws = [gaussian_mmd(*torch.randn(2, 30, 4, generator=source)) for _ in range(200)]
    spread = (torch.tensor(draws).std() / 200**0.5).item()
    assert abs(sum(draws) / 200) < 4 * spread
    assert min(draws) < 0
    x, y = torch.randn(2, 60, 4, generator=source)
    near, far, apart = (gaussian_mmd(x, y + shift) for shift in (0.3, 1.0, 100.0))
    assert 0 < near < far < apart <= 2


def test_equal_images_have_an_mmd_without_dividing_by_zero():
    assert gaussian_mmd(torch.zeros(3, 2), torch.zeros(4, 2)) == 0
    assert gaussian_mmd(torch.zeros(30, 2), torch.ones(30, 2)) > 0.8


def test_too_few_or_unlike_images_are_refused():
    for x, y in ((torch.zeros(1, 2), torch.zeros(3, 2)), (torch.zeros(3, 2), torch.zeros(3, 4))):
        with pytest.raises(DataError, match="an MMD needs"):
            gaussian_mmd(x, y)


def test_a_client_measures_its_own_images_against_its_own_generator():
    requested = []

    class Trainer:
        def real(self, num, scope):
            requested.append(("real", num, scope))
            return torch.randn(num, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(num)

        def fake(self, num, scope):
            requested.append(("fake", num, scope))
            return torch.ones(num, 1, 4, 4), torch.zeros(num)

    metrics = WEIGHTINGS["mmd"](num=40).measure(Trainer())
    assert requested == [("real", 40, "mmd"), ("fake", 40, "mmd")]
    assert 0.1 < metrics["mmd"] < 2


def test_only_a_mean_takes_weights(small):
    for changes in ({"weighting": "mmd"}, {"algorithm": "fegan"}, {"algorithm": "ifl-gan"}):
        with pytest.raises(ConfigError, match="one vote"):
            small(aggregate="median", **changes)
    for algorithm in ("fegan", "ifl-gan"):
        with pytest.raises(ConfigError, match="brings its own weights"):
            small(algorithm=algorithm, weighting="uniform")


def test_clients_of_a_run_measure_what_the_weighting_asks_for(small):
    config = small(weighting="mmd num=20", federation__num_rounds=1, federation__num_clients=2)
    simulate(config, num_workers=1)
    (line,) = journal.read(run_directory.resolve(config.output.dir).journal)
    found = [client["mmd"] for client in line["clients"]]
    assert len(set(found)) == 2
    assert all(0.05 < value < 2 for value in found)
