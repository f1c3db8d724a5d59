"""Privacy of each client: what is drawn, what the noise hides, and how large a federation must be."""

import math

import pytest
import torch

from common.errors import ConfigError
from common.privacy import ClientPrivacy
from common.privacy.accounting import Mechanism
from common.privacy.client import drawn, noise_ratio
from common.privacy.noise_source import SeededNoise
from common.privacy.noisy_mean import NoisyMean
from common.privacy.plan import PrivacyPlan
from common.seeding import torch_generator
from common.tree import flat_vector


class NoNoise:
    generator = torch.Generator()

    def normals(self, *shape):
        return torch.zeros(shape, dtype=torch.float64)

    def uniforms(self, num):
        raise AssertionError


def source(name="noise"):
    return SeededNoise(torch_generator(0, name))


def mean_of(trees, source, origin):
    return NoisyMean(plan(), 8, lambda answered: source).of(dict(enumerate(trees)), origin)


def plan(noise=2.0, rate=0.5, clip=3.0):
    return PrivacyPlan(Mechanism(noise, rate), 1, clip, 1e-5, 10)


def tree(*values):
    return {"g.weight": torch.tensor(values[:2]), "d.bias": torch.tensor(values[2:])}


ORIGIN = tree(1.0, 2.0, 3.0)
NEAR = tree(1.0, 2.0, 4.0)  # an update of length 1
FAR = tree(1.0 + 6.0, 2.0 + 8.0, 3.0)  # of length 10, which is scaled down to 3


def test_updates_are_bounded_added_and_divided_by_the_clients_that_a_round_draws_on_average():
    mean = mean_of([NEAR, FAR], NoNoise(), ORIGIN)
    assert list(mean) == list(ORIGIN)
    torch.testing.assert_close(mean["g.weight"], torch.tensor([1.0 + 0.6 * 3 / 4, 2.0 + 0.8 * 3 / 4]))
    torch.testing.assert_close(mean["d.bias"], torch.tensor([3.0 + 1 / 4]))


@pytest.mark.parametrize("one", [NEAR, FAR, tree(-1e30, 1e30, 1e30), ORIGIN])
def test_one_client_more_moves_the_mean_by_no_more_than_the_bound_whoever_it_is(one):
    others = [NEAR, FAR]
    without, with_it = (mean_of(trees, source(), ORIGIN) for trees in (others, [*others, one]))
    moved = math.dist(flat_vector(with_it).tolist(), flat_vector(without).tolist())
    assert moved <= 3.0 / 4 * (1 + 1e-6)
    if one is FAR:
        assert moved == pytest.approx(3.0 / 4, rel=1e-5)


def test_every_weight_gets_noise_of_the_plans_size():
    origin = {"w": torch.zeros(40_000), "v": torch.zeros(1000)}
    noise = mean_of([origin], source(), origin)
    for part in noise.values():
        assert float(part.std()) == pytest.approx(2.0 * 3.0 / 4, rel=0.1)
        assert float(part.mean()) == pytest.approx(0, abs=0.2)
    again = mean_of([origin], source(), origin)
    assert torch.equal(noise["w"], again["w"])
    other = mean_of([origin], source("another"), origin)
    assert not torch.equal(noise["w"], other["w"])


def test_a_round_without_replies_is_noise_alone():
    mean = mean_of([], NoNoise(), ORIGIN)
    assert torch.equal(flat_vector(mean), flat_vector(ORIGIN))


def test_a_second_mean_and_whole_numbers_are_refused():
    mean = NoisyMean(plan(), 8, lambda answered: source())
    with pytest.raises(ConfigError, match=r"no noise for g\.count"):
        mean.of({}, {"g.count": torch.tensor(1)})
    mean.of({0: NEAR}, ORIGIN)
    with pytest.raises(ConfigError, match="one mean of updates a round"):
        mean.of({0: NEAR}, ORIGIN)


def test_each_client_is_drawn_by_itself():
    cohorts = [drawn(range(1000), 0.3, source(f"{k}")) for k in range(40)]
    sizes = torch.tensor([float(len(cohort)) for cohort in cohorts])
    assert float(sizes.mean()) == pytest.approx(300, abs=12)
    assert float(sizes.std()) == pytest.approx(math.sqrt(1000 * 0.3 * 0.7), rel=0.4)  # a fixed number would have none
    assert all(cohort == sorted(set(cohort)) for cohort in cohorts)
    assert drawn([3, 1, 2], 1.0, NoNoise()) == [1, 2, 3]


def test_a_plan_spends_what_is_promised():
    found = ClientPrivacy(epsilon=2.0, delta=1e-6).plan(1.0, 25)
    assert found.spent(25) == pytest.approx(2.0, rel=1e-6)
    assert found.spent(26) > 2.0
    sampled = ClientPrivacy(epsilon=2.0, delta=1e-6).plan(0.1, 25)
    assert 1.9 < sampled.spent(25) <= 2.0
    assert sampled.mechanism.noise_multiplier < found.mechanism.noise_multiplier / 3


def test_a_small_federation_is_refused_with_the_arithmetic():
    promise = ClientPrivacy(epsilon=10.0)
    small = promise.plan(1.0, 60)
    noise = small.mechanism.noise_multiplier
    with pytest.raises(ConfigError) as caught:
        promise.check_size(small, 10, 250_000)
    ratio = noise * 500 / 10
    assert noise_ratio(small, 10, 250_000) == pytest.approx(ratio)
    assert f"{ratio:,.3g} times as long" in str(caught.value)
    assert f"about {math.ceil(ratio * 10):,} clients" in str(caught.value)
    way_out = float(str(caught.value).rpartition("most-noise=")[2])
    ClientPrivacy(epsilon=10.0, most_noise=way_out).check_size(small, 10, 250_000)
    promise.check_size(small, math.ceil(ratio * 10), 250_000)


def test_a_delta_that_gives_a_client_away_and_rounds_without_clients_are_refused():
    promise = ClientPrivacy(delta=0.01, most_noise=1e9)
    with pytest.raises(ConfigError, match="well below"):
        promise.check_size(promise.plan(1.0, 2), 100, 10)
    promise = ClientPrivacy(most_noise=1e9)
    with pytest.raises(ConfigError, match="some round would draw none"):
        promise.check_size(promise.plan(0.1, 2), 20, 10)
    promise.check_size(promise.plan(0.1, 2), 200, 10)
