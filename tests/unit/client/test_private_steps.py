"""Steps under a promise of privacy: noise on the wire, bounded gradients, batches by chance, and nothing else."""

import math

import pytest
import torch

from client.batches import Assignment
from client.noise import PrivateRound
from common.errors import ConfigError
from common.objectives.adversarial import AdversarialObjective
from common.privacy.accounting import Mechanism
from common.privacy.noise_source import SeededNoise
from common.privacy.plan import PrivacyPlan
from tests.unit.client.trainers import make, shard
from tests.unit.kinds import spec_of

NOISE = 100.0  # so much that gradients do not show in it


def private(trainer, *, noise=NOISE, rate=0.5, uses=100, clip=1.0, own=False, images=None, **where):
    """Has a trainer turn to a client with a plan."""
    plan = PrivacyPlan(Mechanism(noise, rate), uses, clip, 1e-5)
    scope = {"seed": 0, "partition": 0, "round": 1} | where
    examples = images or shard(spec=trainer._sampler.spec)
    trainer.assign(Assignment(examples, **scope, plan=plan, has_own_data=own), None)
    return trainer


def moved(trainer, **options):
    """Returns by how much a fit has moved all weights of the discriminator, over its learning rate."""
    before, metrics = trainer.parameters(), trainer.fit(networks=["discriminator"], **options)
    keys = [key for key in before if key.startswith("discriminator.")]
    after = trainer.parameters()
    return torch.cat([(before[key] - after[key]).flatten() for key in keys]) / trainer._rates["discriminator"], metrics


def sgd(**local):
    return make(optimiser="sgd", steps=1, **local)


@pytest.mark.parametrize("own", [False, True])
def test_noise_of_the_plans_width_is_in_every_weight_that_is_sent(own):
    steps, _ = moved(private(sgd(), noise=NOISE, rate=0.25, clip=0.5, own=own))
    expected = NOISE * 0.5 / (0.25 * 20)  # of the mean over the size of a batch on average
    within = 5 / math.sqrt(2 * len(steps))
    assert steps.std().item() == pytest.approx(expected, rel=within)
    assert steps.mean().item() == pytest.approx(0, abs=5 * expected / math.sqrt(len(steps)))
    assert (steps.abs() > 1e-4 * expected).double().mean() > 0.999


def test_each_step_has_noise_of_its_own():
    trainer = make(optimiser="sgd", steps=4, schedule="constant")
    steps, _ = moved(private(trainer, rate=0.25))
    once = NOISE / (0.25 * 20)
    assert steps.std().item() == pytest.approx(2 * once, rel=5 / math.sqrt(2 * len(steps)))  # 4 times, were it the same


@pytest.mark.parametrize("other", [{"seed": 1}, {"partition": 1}, {"round": 2}, {"own": True}])
def test_noise_differs_by_seed_client_and_round_and_does_not_follow_from_them_at_a_site_of_its_own(other):
    trainer = sgd()
    one, two = (moved(private(sgd(), **where))[0] for where in ({}, other))
    assert torch.corrcoef(torch.stack([one, two]))[0, 1].abs() < 0.1
    assert torch.equal(one, moved(private(trainer))[0])  # the same seed, the same bits


def test_a_batch_that_happens_to_be_empty_is_a_step_of_noise_alone():
    steps, metrics = moved(private(sgd(), rate=1e-6))
    assert steps.std().item() == pytest.approx(NOISE / (1e-6 * 20), rel=5 / math.sqrt(2 * len(steps)))
    assert metrics["examples"] == pytest.approx(1e-6 * 20)


@pytest.fixture
def sums(monkeypatch):
    """The sums that get noise, without it."""
    kept = []
    monkeypatch.setattr(PrivateRound, "hidden", lambda self, total, clip, rate=1.0: kept.append(total) or total)
    return kept


def draws_by_place(monkeypatch):
    """Has an example's draws follow from its place in the batch: the same randomness, however many examples."""

    def drawn(self, source):
        rows = torch.arange(source.size)
        latents = torch.sin(rows[:, None] + torch.arange(math.prod(source.noise_shape))).float()
        return {"fake-labels": source.labels(), "latents": latents, "uniforms": rows / source.size}

    monkeypatch.setattr(AdversarialObjective, "draw", drawn)


@pytest.mark.parametrize(
    ("model", "objective", "options"),
    [("mlp", "non-saturating", {}), ("dcgan", "non-saturating", {"r1": 1.0}), ("transformer", "next-token", {})],
)
def test_one_example_more_changes_a_sum_by_the_clip_at_most_and_by_all_of_it_if_its_gradient_is_long(
    model, objective, options, monkeypatch, sums
):
    draws_by_place(monkeypatch)
    whole = shard(num=9, spec=spec_of(model), labels=(3, 7, 1))
    for clip, is_reached in ((1e-3, True), (1e3, False)):
        for images in (whole, type(whole)(whole.stored[:-1], whole.labels[:-1], **whole.options())):
            trainer = make(model, objective, options=options, steps=1)
            private(trainer, rate=1.0, clip=clip, images=images).fit(networks=trainer._phases[0].networks)
        difference = (sums[-2] - sums[-1]).norm().item()
        assert difference <= clip * (1 + 1e-4)
        assert (difference > 0.99 * clip) == is_reached
        assert sums[-1].norm() > 0


def test_what_is_summed_is_the_gradient_of_all_networks_that_a_phase_steps_and_of_no_other(sums):
    vae = private(make("vae", "elbo", steps=1), rate=1.0)
    vae.fit()
    assert len(sums[-1]) == sum(value.numel() for value in vae.parameters().values())
    gan = private(make(steps=1), rate=1.0)
    gan.fit()
    own = [value.numel() for key, value in gan.parameters().items() if key.startswith("discriminator.")]
    assert (len(sums), len(sums[-1])) == (2, sum(own))


def test_many_examples_are_summed_in_parts(monkeypatch, sums):
    for most in (128, 3):
        monkeypatch.setattr("client.private_steps.EXAMPLES_AT_ONCE", most)
        private(make(steps=1), rate=1.0).fit()
    torch.testing.assert_close(sums[0], sums[1], rtol=1e-4, atol=1e-6)


def batches(trainer, **plan):
    private(trainer, **plan)
    phases = trainer.step_phases(None)
    return [batch for batch, phase in zip(trainer._batches(phases), phases * trainer._local.steps, strict=True)]


def test_each_example_is_in_a_batch_with_the_plans_probability_and_without_the_others():
    images = shard(num=20)
    found = batches(make(steps=600, batch_size=1), rate=0.3, images=images)[::2]
    examples = make()._spec.to_input(images.stored)
    there = torch.stack(
        [(batch.examples[:, None] == examples).flatten(2).all(2).any(0) for batch in found if len(batch.examples)]
    ).double()
    assert there.sum() == sum(len(batch.examples) for batch in found)  # no example twice
    assert there.mean(0).tolist() == pytest.approx([0.3] * 20, abs=4 * math.sqrt(0.21 / 600))
    sizes = there.sum(1)
    assert sizes.var().item() == pytest.approx(20 * 0.21, rel=0.25)  # binomial: the examples are independent


def test_fakes_beside_an_example_are_of_its_class_unless_classes_are_to_be_even():
    for labels, expected in (("own", {3, 7}), ("uniform", set(range(10)))):
        found = batches(make(steps=40, fake_labels=labels), rate=0.5)[::2]
        assert {int(label) for batch in found for label in batch.draws["fake-labels"]} == expected
        if labels == "own":
            assert all(torch.equal(batch.draws["fake-labels"], batch.labels) for batch in found)


def test_what_the_generator_trains_on_hangs_on_nothing_that_the_client_holds():
    first = batches(make(steps=40, batch_size=8), images=shard(seed=0, labels=(3, 7)))[1::2]
    second = batches(make(steps=40, batch_size=8), images=shard(seed=1, labels=(0,)), rate=0.9)[1::2]
    for one, two in zip(first, second, strict=True):
        assert len(one.examples) == len(one.labels) == 0
        assert one.draws.keys() == two.draws.keys()
        assert all(torch.equal(one.draws[name], two.draws[name]) for name in one.draws)
    labels = torch.cat([batch.draws["fake-labels"] for batch in first])
    assert len(labels) == 40 * 8
    assert torch.bincount(labels, minlength=10).tolist() == pytest.approx([32] * 10, abs=20)
    assert not torch.equal(first[0].draws["latents"], first[1].draws["latents"])


def test_no_phase_goes_on_with_what_a_batch_of_real_examples_has_left():
    trainer = private(make())
    assert [phase.reuses_batch for phase in trainer._phases] == [False, True]
    assert not any(phase.reuses_batch for phase in trainer.step_phases(None))


def test_phases_count_their_steps_as_always():
    found = batches(make(steps=3, options={"critic_steps": 2}), round=2)
    assert [batch.step for batch in found] == [6, 7, 3, 8, 9, 4, 10, 11, 5]


def test_lazy_r1_is_paid_for_in_its_steps_alone(sums):
    for r1 in (0.0, 10.0):
        trainer = make(options={"r1": r1, "r1_every": 2}, optimiser="sgd", learning_rate=1e-9, steps=2, **RATE)
        private(trainer, rate=1.0).fit(networks=["discriminator"])
    differs = [not torch.allclose(one, two, rtol=1e-3, atol=1e-5) for one, two in zip(sums[:2], sums[2:], strict=True)]
    assert differs == [True, False]


RATE = {"adversary_learning_rate": 1e-9}


def test_a_clients_own_loss_is_added_after_the_noise_as_it_looks_at_weights_alone():
    def drift(name, network):
        return sum(value.sum() for value in network.parameters())

    plain, _ = moved(private(sgd()))
    more, _ = moved(private(sgd()), extra_loss=drift)
    torch.testing.assert_close(more - plain, torch.ones_like(plain), rtol=0, atol=1e-2)
    hooked, _ = moved(
        private(sgd()), gradient_hook=lambda name, network: [w.grad.zero_() for w in network.parameters()]
    )
    assert not hooked.any()


def test_nothing_but_what_is_known_is_told_of_a_fit():
    metrics = private(make(steps=3, batch_size=8), rate=0.3).fit()
    assert metrics.keys() == {"examples", "seconds"}
    assert metrics["examples"] == pytest.approx(3 * 0.3 * 20)


def test_the_seeds_of_the_run_are_not_those_of_a_sites_own_noise():
    release = Assignment(shard(), 0, 0, 1, plan=PrivacyPlan(Mechanism(1.0), 1, 1.0, 1e-5), has_own_data=True)
    assert not isinstance(release.private_round().source, SeededNoise)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda trainer: trainer.real(2, "scope"), "looks at real examples itself"),
        (lambda trainer: trainer.fit(given={"fakes": torch.zeros(8, 1, 28, 28)}), "fakes that it is given"),
        (lambda trainer: trainer.count(), "counts examples without noise"),
    ],
)
def test_what_looks_at_examples_without_noise_is_refused(use, message):
    with pytest.raises(ConfigError, match=message):
        use(private(make()))


def test_one_step_more_than_is_paid_for_is_refused():
    trainer = private(make(steps=3), uses=4)
    trainer.fit()
    with pytest.raises(ConfigError, match="privacy pays for 4 releases a round"):
        trainer.fit()


def test_batch_statistics_are_refused():
    trainer = make("dcgan")
    trainer._networks["discriminator"].features[1] = torch.nn.BatchNorm2d(16)
    with pytest.raises(ConfigError, match="discriminator.features.1 is BatchNorm2d, .* norm=group or norm=none"):
        private(trainer)


def test_fakes_to_compare_with_are_of_all_classes():
    _, labels = private(make()).fake(200, "scope")
    assert set(labels.tolist()) == set(range(10))
