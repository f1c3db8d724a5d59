"""Private steps of several clients at once: those of the loop, with noise of each, and nothing of one in another."""

import logging
import math

import pytest
import torch

from client.batched import group, private_fit
from client.batched.stacked_trainer import Request
from client.batches import Assignment
from client.functional import shared_weights
from client.noise import PrivateRound
from client.private_steps import PrivateSteps
from client.trainer import Trainer
from common import tree
from common.errors import ConfigError
from common.objectives import OBJECTIVES
from common.privacy.accounting import Mechanism
from common.privacy.plan import PrivacyPlan
from tests.unit.client.batched.test_group import apart, cohort, in_float64, making, shard, together

__all__ = ["in_float64"]
EXACT = 1e-12
"""Thousands of roundings of float64 (1e-16 each) at weights of about 1, after three steps."""

NOISE = 100.0  # so much that gradients do not show in it
NUMS = (20, 7, 12)  # examples of each client


def plan(noise=1.0, rate=0.4, uses=1000, clip=0.5):
    return PrivacyPlan(Mechanism(noise, rate), uses, clip, 1e-5)


def private(trainer, k, promise, *, own=False, images=None, num=20):
    examples = images or shard(k, trainer._sampler.spec, num)
    trainer.assign(Assignment(examples, 0, k, 1, plan=promise, has_own_data=own), None)
    trainer.load(trainer.initial())
    return trainer


def private_cohort(spec, *plans, **options):
    """Returns a stacked and members, each with a client under a plan."""
    stacked, members = cohort(spec, len(plans))
    for k, (member, promise) in enumerate(zip(members, plans, strict=True)):
        private(member, k, promise, num=NUMS[k], **options)
    return stacked, members


@pytest.fixture
def doubled(in_float64, monkeypatch):
    """Has private training compute in float64, whose roundings start 5e8 times smaller: see ``in_float64``."""
    draw = PrivateSteps._draw

    def drawn(steps, *arguments):
        found = draw(steps, *arguments)
        return {name: value.double() if value.is_floating_point() else value for name, value in found.items()}

    monkeypatch.setattr(PrivateSteps, "_draw", drawn)


def largest_difference(spec, plans=None, request=None):
    """Returns by how much weights and moments of a cohort differ from those of the loop."""
    plans, request = plans or [plan(1.0, 0.4), plan(2.0, 0.9), plan(0.5, 0.1)], request or Request()
    stacked, members = private_cohort(spec, *plans)
    means = together(stacked, members, [request] * len(members))
    assert not stacked._refused, "trained in the loop"
    found = 0.0
    for k, (member, promise) in enumerate(zip(members, plans, strict=True)):
        alone = private(Trainer(spec), k, promise, num=NUMS[k])
        expected = alone.fit(
            networks=request.networks, extra_loss=request.extra_loss, gradient_hook=request.gradient_hook
        )
        assert means[k].keys() == expected.keys() == {"examples", "seconds"}
        assert means[k]["examples"] == expected["examples"]
        found = max(found, apart(member, alone))
        assert tree.distance(alone.parameters(), alone.initial()) > 0
    return found


CASES = [
    ("mlp", "non-saturating", {}, {}),
    ("dcgan", "hinge", {"r1": 1.0, "augment": "translation"}, {}),
    ("dcgan", "wgan-gp", {"critic_steps": 2}, {}),
    ("dcgan", "wgan", {"critic_steps": 2}, {"spectral_norm": True}),
    ("resnet", "lsgan", {}, {}),
    ("vae", "elbo", {}, {}),
    ("unet", "flow-matching", {}, {}),
    ("transformer", "next-token", {}, {}),
    ("lstm", "next-token", {}, {}),
]


@pytest.mark.parametrize(("model", "objective", "options", "model_options"), CASES)
def test_private_clients_are_trained_together_as_in_the_loop(doubled, model, objective, options, model_options):
    made = OBJECTIVES[objective](**options)
    spec = making(model, made, model_options=model_options, steps=3, width=8 if model in ("unet", "transformer") else 4)
    assert largest_difference(spec) < EXACT


def test_examples_by_the_part_convolutions_as_products_and_threads_change_nothing(doubled, monkeypatch):
    spec = making("dcgan", OBJECTIVES["hinge"](r1=1.0), steps=2, width=4)
    threads = private_fit._threads
    monkeypatch.setattr(private_fit, "_threads", lambda num, device: threads(num, torch.device("cuda")))
    monkeypatch.setattr(private_fit, "EXAMPLES_AT_ONCE", 6)
    assert largest_difference(spec) < EXACT
    used = []
    monkeypatch.setattr(shared_weights, "_are_products", lambda *given: used.append(given) or len(given[1]) > 1)
    assert largest_difference(spec) < EXACT
    assert used


def test_a_clients_own_loss_its_hook_and_a_mean_over_steps_are_those_of_the_loop(doubled):
    def extra_loss(name, network):
        return 0.1 * torch.stack([weight.square().sum() for weight in network.parameters()]).sum()

    def hook(name, network):
        for weight in network.parameters():
            weight.grad += 0.01

    spec = making(steps=2)
    assert largest_difference(spec, request=Request(extra_loss=extra_loss, gradient_hook=hook)) < EXACT
    assert largest_difference(spec, request=Request(networks=("discriminator",))) < EXACT
    stacked, members = private_cohort(spec, plan(), plan())
    alone = private(Trainer(spec), 1, plan(), num=NUMS[1])
    for trainer in (*members, alone):
        trainer.average_steps(0.5)
    together(stacked, members)
    alone.fit()
    assert tree.distance(members[1].averaged(), alone.averaged()) < EXACT


def moved(members):
    """Returns by how much the discriminator of each client has moved, over its learning rate, as rows."""
    rows = []
    for member in members:
        before, after = member.initial(), member.parameters()
        keys = [key for key in before if key.startswith("discriminator.")]
        steps = torch.cat([(before[key] - after[key]).flatten() for key in keys])
        rows.append(steps / member._rates["discriminator"])
    return torch.stack(rows)


@pytest.mark.parametrize("own", [False, True])
def test_noise_of_each_clients_own_width_is_in_every_weight_and_is_no_other_clients(own):
    spec = making(rule="sgd", steps=1)
    found = []
    for _ in range(2):
        stacked, members = private_cohort(spec, plan(NOISE, 0.4), plan(NOISE, 1e-7), plan(3 * NOISE, 0.4), own=own)
        together(stacked, members)
        assert not stacked._refused
        found.append(moved(members))
    for row, noise, rate, num in zip(found[0], (NOISE, NOISE, 3 * NOISE), (0.4, 1e-7, 0.4), NUMS, strict=True):
        expected = noise * 0.5 / (rate * num)  # clip 0.5; over the size of a batch on average, which may be empty
        within = 5 / math.sqrt(2 * len(row))
        assert row.std().item() == pytest.approx(expected, rel=within)
        assert (row.abs() > 1e-4 * expected).double().mean() > 0.999
    correlations = torch.corrcoef(torch.cat([found[0], found[1]]))
    same = torch.eye(6).bool() if own else torch.eye(3).bool().repeat(2, 2)  # the run's seed, and not a site's own
    assert correlations[~same].abs().max() < 0.1
    assert correlations[same].min() > 0.999
    assert torch.equal(*found) != own


@pytest.fixture
def sums(monkeypatch):
    """The sums that get noise, without it."""
    kept = []
    monkeypatch.setattr(PrivateRound, "hidden", lambda self, total, clip, rate=1.0: kept.append(total) or total)
    return kept


def test_one_example_more_changes_the_sum_of_its_client_by_the_clip_at_most_and_no_other(sums, monkeypatch):
    def drawn(steps, num, *_):  # draws by the place in the batch: the same randomness, however many examples
        rows = torch.arange(num)
        latents = torch.sin(rows[:, None] + torch.arange(math.prod(steps._maker.noise_shape))).float()
        return {"fake-labels": rows % 10, "latents": latents}

    monkeypatch.setattr(PrivateSteps, "_draw", drawn)
    spec, whole = making("dcgan", steps=1, width=4), shard(1, num=9)
    less = type(whole)(whole.stored[:-1], whole.labels[:-1], **whole.options())
    for clip, is_reached in ((1e-3, True), (1e3, False)):
        for images in (whole, less):
            stacked, members = private_cohort(spec, *[plan(1.0, 1.0, clip=clip)] * 3)
            private(members[1], 1, plan(1.0, 1.0, clip=clip), images=images)
            together(stacked, members, [Request(networks=("discriminator",))] * 3)
            assert not stacked._refused
        before, after = sums[-6:-3], sums[-3:]
        differences = [(one - other).norm().item() for one, other in zip(before, after, strict=True)]
        assert 0 < differences[1] <= clip * (1 + 1e-4)
        assert (differences[1] > 0.99 * clip) == is_reached
        assert max(differences[0], differences[2]) <= 1e-5 * before[0].norm().item()


def test_an_example_whose_gradient_is_not_finite_leaves_no_trace_in_any_client(sums):
    class Odd(OBJECTIVES["hinge"]):
        def discriminator_loss(self, real_logits, fake_logits):
            return super().discriminator_loss(real_logits, fake_logits) / (1 - self.most * (real_logits > 0).float())

        most: float = 1.0

    for most in (1.0, 0.0):
        stacked, members = private_cohort(making(objective=Odd(most=most), steps=1), plan(), plan())
        together(stacked, members, [Request(networks=("discriminator",))] * 2)
    assert all(one.isfinite().all() for one in sums)
    assert not torch.equal(sums[0], sums[2])


def test_what_cannot_be_batched_pays_once_and_is_trained_in_the_loop_to_the_bit(caplog, monkeypatch):
    def fail(fit, phase, means):
        raise NotImplementedError("no rule for private odds")

    spec = making(steps=2)
    monkeypatch.setattr(private_fit.PrivateFit, "_set_gradients", fail)  # after noise was drawn
    group._say.cache_clear()
    with caplog.at_level(logging.WARNING, "fedgan.client"):
        stacked, members = private_cohort(spec, *[plan(uses=2)] * 2)
        together(stacked, members)
    assert "trained one after another, not together: NotImplementedError: no rule for private odds" in caplog.text
    for k, member in enumerate(members):
        alone = private(Trainer(spec), k, plan(uses=2), num=NUMS[k])
        alone.fit()
        assert apart(member, alone) == 0


def test_one_step_more_than_is_paid_for_is_refused_and_nothing_is_trained():
    stacked, members = private_cohort(making(steps=3), *[plan(uses=2)] * 2)
    results = stacked.fit(members, [Request()] * 2)
    assert all(isinstance(result, ConfigError) and "pays for 2 releases" in str(result) for result in results)


def test_clients_with_another_clip_or_without_a_promise_are_trained_by_themselves(monkeypatch):
    tried = []
    monkeypatch.setattr(group.StackedWeights, "_try_together", lambda *given: tried.append(given))
    for other in (plan(clip=0.1), None):
        stacked, members = private_cohort(making(steps=1), plan(), other)
        together(stacked, members)
    assert not tried


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("model", ["mlp", "dcgan", "resnet"])
def test_private_clients_on_a_gpu_are_trained_together_as_in_the_loop(doubled, model):
    assert largest_difference(making(model, width=4, device="cuda")) < EXACT
