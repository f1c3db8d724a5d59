import dataclasses
import logging
import math

import pytest
import torch

from client.batched import group
from client.batched.group import StackedWeights
from client.batched.stacked_trainer import Request
from client.batches import Assignment, BatchMaker
from client.functional import written_out
from client.trainer import Trainer
from client.trainer_spec import TrainerSpec
from common import tree
from common.components import parse
from common.config_sections import LocalConfig
from common.errors import DivergenceError
from common.examples import ImageSpec
from common.models import MODELS, AdversarialModel, Model
from common.objectives import OBJECTIVES, AdversarialObjective
from common.optimisers import OPTIMISERS
from tests.unit.kinds import FITTING, small_model, small_set, spec_of

PLAIN = Request()
EXAMPLES = ImageSpec(1, 28, 10)
COLOUR = ImageSpec(3, 32, 10)
HINGE = OBJECTIVES["hinge"]
EXACT = 1e-6
"""What float64 leaves of a difference in the order of sums after 20 steps at the default rates; see ``in_float64``."""


def shard(partition, spec=EXAMPLES, num=20):
    """Returns examples and labels that differ from client to client."""
    return small_set(spec, num, partition, (partition, partition + 3))


def making(
    model="mlp",
    objective="non-saturating",
    examples=None,
    device="cpu",
    model_options=None,
    width=8,
    rule="adam",
    **local,
):
    """Returns what a trainer is made of; ``objective`` may be one."""
    made = OBJECTIVES[objective]() if isinstance(objective, str) else objective
    networks = small_model(model, **{"width": width} | (model_options or {}))
    settings = LocalConfig(**({"steps": 3, "batch_size": 4} | local))
    optimiser = parse("optimiser", OPTIMISERS, rule)
    return TrainerSpec(networks, made, optimiser, examples or spec_of(model), settings, 0, torch.device(device))


def assigned(trainer, partition, spec=EXAMPLES, num=20, round=1):
    """Turns a trainer to a client, whose weights are the initial ones."""
    trainer.assign(Assignment(shard(partition, spec, num), 0, partition, round), None)
    trainer.load(trainer.initial())
    return trainer


def cohort(spec, num=3, nums=None):
    """Returns a stacked and as many members, each with a client."""
    stacked = StackedWeights(num, spec)
    members = [stacked.member(k, lambda member, request: {}) for k in range(num)]
    for k, member in enumerate(members):
        assigned(member, k, spec.example_spec, nums[k] if nums else 20)
    return stacked, members


def together(stacked, members, requests=None):
    """Trains a cohort, and returns each client's means."""
    results = stacked.fit(members, requests or [PLAIN] * len(members))
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def by_itself(spec, partition, request=PLAIN, num=20):
    """Returns a trainer in the loop that has trained a client, and its means."""
    trainer = assigned(Trainer(spec), partition, spec.example_spec, num)
    keywords = {name: getattr(request, name) for name in ("networks", "given", "extra_loss", "gradient_hook")}
    return trainer, trainer.fit(**keywords)


def apart(one, other):
    """Returns the largest difference of two trainers' weights and buffers, and moments."""
    pairs = [(one.parameters(), other.parameters()), (one.moments(), other.moments())]
    return max(float((a[key].double() - b[key].double()).abs().max()) for a, b in pairs for key in a)


@pytest.fixture
def in_float64(monkeypatch):
    """Has training compute in float64.

    The loop and the batch take the same sums in another order. Adam with beta1=0 makes steps of nearly one size
    whatever the gradient's, so a rounding error in a small gradient turns into a whole step, and after 20 steps of a
    game of two networks two float32 runs are some per cent apart though nothing is wrong: a tolerance for that would
    let defects pass. In float64 the same roundings start 5e8 times smaller, and a defect does not.
    """
    build, blocks, cast, to_input = Model.build, BatchMaker.blocks, torch.Tensor.to, ImageSpec.to_input

    def doubled(maker, *arguments):
        for block in blocks(maker, *arguments):
            for drawn in block.phases.values():
                floats = {name: value.double() for name, value in drawn.draws.items() if value.is_floating_point()}
                drawn.draws.update(floats)
            yield block

    monkeypatch.setattr(Model, "build", lambda model, shape, seed: build(model, shape, seed).double())
    monkeypatch.setattr(BatchMaker, "blocks", doubled)
    monkeypatch.setattr(ImageSpec, "to_input", lambda spec, stored: to_input(spec, stored).double())
    monkeypatch.setattr(torch.Tensor, "float", lambda value: cast(value, torch.float64))


def largest_difference(spec, num=3, request=PLAIN):
    stacked, members = cohort(spec, num)
    means = together(stacked, members, [request] * num)
    assert not stacked._refused, "trained in the loop"
    found = 0.0
    for k, member in enumerate(members):
        alone, expected = by_itself(spec, k, request)
        found = max(found, apart(member, alone))
        assert expected.keys() == means[k].keys()
        for key in expected.keys() - {"seconds"}:
            assert means[k][key] == pytest.approx(expected[key], rel=1e-5, abs=1e-6)
    return found


PAIRS = [
    pytest.param(model, objective, marks=pytest.mark.slow if model == "resnet" and objective != "hinge" else ())
    for model, objective in FITTING
]


@pytest.mark.parametrize(("model", "objective"), PAIRS)
def test_every_model_and_objective_is_trained_together_as_in_the_loop(in_float64, model, objective):
    # With five critic steps to each of the generator's, 20 steps of wgan-gp are more than float64 can tell: there a
    # loop whose weights start 2e-15 apart ends as far from itself as from the batch.
    made = OBJECTIVES[objective]
    loss = made(critic_steps=1) if issubclass(made, AdversarialObjective) else made()
    spec = making(model, loss, steps=20, batch_size=2, width=8 if model in ("unet", "transformer") else 4)
    assert largest_difference(spec, num=2) < EXACT


VARIANTS = {
    "r1": ({"r1": 1.0}, {}),
    "lazy-r1": ({"r1": 1.0, "r1_every": 2}, {}),
    "augment": ({"augment": "color,translation,cutout", "instance_noise": 0.1}, {}),
    "spectral-norm": ({}, {"spectral_norm": True}),
    "batch-norm": ({}, {"norm": "batch"}),
    "minibatch-std": ({"r1": 1.0}, {"minibatch_std": True}),
    "resize-convolution": ({}, {"resize_convolution": True}),
    "plain": ({}, {"norm": "none", "conditional": False}),
}


@pytest.mark.parametrize("objective", ["wgan", "wgan-gp"])
def test_several_critic_steps_are_trained_together_as_in_the_loop(in_float64, objective):
    assert largest_difference(making("dcgan", objective, steps=3, width=4), num=2) < EXACT


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_trained_together_as_in_the_loop(in_float64, variant):
    options, model_options = VARIANTS[variant]
    spec = making("dcgan", HINGE(**options), COLOUR, model_options=model_options, steps=5)
    assert largest_difference(spec, num=2) < EXACT


def test_float32_weights_are_as_far_apart_after_a_step_as_rounding_puts_them():
    # One step: Adam's first moves a weight by its rate times g / |g|, so gradients near zero count by their sign.
    spec = making("dcgan", "lsgan", steps=1, rule="adam beta1=0.9")
    stacked, members = cohort(spec)
    together(stacked, members)
    for k, member in enumerate(members):
        alone, _ = by_itself(spec, k)
        for key, value in alone.moments().items():
            torch.testing.assert_close(member.moments()[key], value, rtol=1e-3, atol=1e-6)


def test_a_batch_of_dense_networks_keeps_its_clients_apart():
    spec = making(steps=4)
    stacked, members = cohort(spec)
    before = together(stacked, members)
    weights = [tree.digest(member.parameters()) for member in members]
    for k, member in enumerate(members):
        assigned(member, k)
    assigned(members[1], 5)  # another client in the middle
    after = together(stacked, members)
    assert [tree.digest(member.parameters()) == was for member, was in zip(members, weights, strict=True)] == [
        True,
        False,
        True,
    ]
    assert [one["generator-loss"] == other["generator-loss"] for one, other in zip(before, after, strict=True)] == [
        True,
        False,
        True,
    ]


def test_shards_of_any_size_are_trained_together(in_float64):
    spec, nums = making(batch_size=8), [3, 20, 57]
    stacked, members = cohort(spec, nums=nums)
    together(stacked, members)
    assert not stacked._refused
    for k, member in enumerate(members):
        assert apart(member, by_itself(spec, k, num=nums[k])[0]) < EXACT


def test_fewer_clients_than_seats_and_then_more_train_as_in_the_loop(in_float64):
    spec = making()
    stacked, members = cohort(spec, num=4)
    for num in (2, 4, 3):
        at_work = [assigned(member, k) for k, member in enumerate(members[:num])]
        together(stacked, at_work)
        assert all(apart(member, by_itself(spec, k)[0]) < EXACT for k, member in enumerate(at_work))


def test_moments_of_clients_that_trained_more_or_less_often_are_their_own(in_float64):
    spec = making()
    _, [_, veteran] = cohort(spec, num=2)
    veteran.fit_alone(Request())
    stacked, members = cohort(spec, num=2)
    for k, kept in enumerate((None, veteran.moments())):
        members[k].assign(members[k]._assigned, kept)
    together(stacked, members)
    assert not stacked._refused
    for k, kept in enumerate((None, veteran.moments())):
        alone = assigned(Trainer(spec), k)
        alone.assign(alone._assigned, kept)
        alone.fit()
        assert apart(members[k], alone) < EXACT
    assert [float(member.moments()["generator.layers.0.bias.step"]) for member in members] == [3, 6]


def test_only_the_networks_requested_are_trained_on_the_fakes_given(in_float64):
    spec = making("dcgan", steps=4)
    requests = [
        Request(
            networks=("discriminator",),
            given={"fakes": torch.full((6, 1, 28, 28), 0.1 * k).double(), "fake-labels": torch.arange(6)},
        )
        for k in range(3)
    ]
    stacked, members = cohort(spec)
    together(stacked, members, requests)
    assert not stacked._refused
    for k, member in enumerate(members):
        assert apart(member, by_itself(spec, k, requests[k])[0]) < EXACT
        moved = tree.select(member.parameters(), ["generator"])
        assert tree.distance(moved, tree.select(member.initial(), ["generator"])) == 0


def test_each_client_has_its_own_extra_loss_and_gradient_hook(in_float64):
    def request(share):
        def extra_loss(name, network):
            return share * torch.stack([weight.square().sum() for weight in network.parameters()]).sum()

        def hook(name, network):
            for weight in network.parameters():
                weight.grad += 0.01 * share

        return Request(extra_loss=extra_loss, gradient_hook=hook)

    spec = making("dcgan", OBJECTIVES["wgan"](critic_steps=2))
    requests = [request(share) for share in (0.0, 0.1, 0.5)]
    stacked, members = cohort(spec)
    means = together(stacked, members, requests)
    assert not stacked._refused
    for k, member in enumerate(members):
        alone, expected = by_itself(spec, k, requests[k])
        assert apart(member, alone) < EXACT
        assert means[k]["discriminator-loss"] == pytest.approx(expected["discriminator-loss"], rel=1e-6)


def test_weights_are_clipped_after_each_update():
    stacked, members = cohort(making(objective=OBJECTIVES["wgan"](clip=0.003)))
    together(stacked, members)
    for member in members:
        discriminator = tree.select(member.parameters(), ["discriminator"])
        assert max(float(value.abs().max()) for value in discriminator.values()) == pytest.approx(0.003)


def test_one_client_diverges_and_the_others_do_not_notice():
    spec = making()
    stacked, members = cohort(spec)
    members[1].load({"discriminator.logit.bias": torch.tensor([math.inf])})
    results = stacked.fit(members, [Request()] * 3)
    assert isinstance(results[1], DivergenceError)
    assert "partition 1" in str(results[1])
    for k in (0, 2):
        assert tree.not_finite(members[k].parameters()) is None
        assert results[k]["generator-loss"] == pytest.approx(by_itself(spec, k)[1]["generator-loss"], rel=1e-4)


def test_what_cannot_be_batched_is_trained_in_the_loop_to_the_bit_and_said_once(caplog):
    class Peeking(HINGE):
        def generator_loss(self, fake_logits):
            return super().generator_loss(fake_logits) * (1.0 if fake_logits.mean().item() < 1e9 else 0.0)

    spec = making("dcgan", Peeking())
    stacked, members = cohort(spec)
    group._say.cache_clear()
    with caplog.at_level(logging.WARNING, "fedgan.client"):
        for _ in range(2):
            for k, member in enumerate(members):
                assigned(member, k)
            means = together(stacked, members)
    assert len(caplog.records) == 1
    assert "one after another" in caplog.text
    for k, member in enumerate(members):
        alone, expected = by_itself(spec, k)
        assert apart(member, alone) == 0
        assert means[k]["generator-loss"] == expected["generator-loss"]


@pytest.mark.parametrize("case", ["one", "rounds", "requests", "rows"])
def test_clients_that_do_not_go_together_train_in_the_loop_to_the_bit(case):
    spec = making("dcgan")
    stacked, members = cohort(spec)
    requests = [Request()] * 3
    if case == "one":
        members, requests = members[:1], requests[:1]
    elif case == "rounds":
        assigned(members[2], 2, round=2)
    elif case == "requests":
        requests[1] = Request(networks=("generator",))
    else:
        members, requests = members[1:], requests[1:]
    together(stacked, members, requests)
    for member, request in zip(members, requests, strict=True):
        alone = assigned(Trainer(spec), member.number, round=2 if case == "rounds" and member.number == 2 else 1)
        alone.fit(networks=request.networks)
        assert apart(member, alone) == 0


def test_a_failure_of_what_was_batched_before_is_every_clients_error(monkeypatch):
    stacked, members = cohort(making())
    together(stacked, members)

    def fail(fit):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(group.BatchedFit, "run", fail)
    assert [str(result) for result in stacked.fit(members, [Request()] * 3)] == ["out of memory"] * 3


@pytest.mark.parametrize("rule", ["adamw", "sgd", "sgd momentum=0.9"])
def test_every_optimiser_steps_a_cohort_as_it_steps_a_client(rule):
    assert largest_difference(making(steps=5, rule=rule), num=2) < EXACT


def test_seats_share_the_weights_of_their_table_and_nothing_else():
    spec = making()
    stacked = StackedWeights(2, spec)
    one, other = (stacked.member(k, lambda member, request: {}) for k in range(2))
    key = "generator.layers.0.weight"
    one.load({key: torch.full_like(one.parameters()[key], 7.0)})
    assert bool((stacked._weights[key][0] == 7.0).all())
    assert tree.digest(other.parameters()) == tree.digest(other.initial())


@pytest.mark.parametrize("options", [{}, {"r1": 1.0, "r1_every": 3}, {"critic_steps": 2}])
def test_steps_that_are_recorded_and_repeated_train_as_those_that_are_not(in_float64, options):
    # On the CPU a repetition computes again on the recording's own memory. Rates in it are float32, which these fit.
    rates = {"learning_rate": 2.0**-8, "adversary_learning_rate": 2.0**-7}
    spec = making("dcgan", HINGE(**options), steps=7, **rates)
    stacked, members = cohort(spec)
    recordings = []

    def record(compute):
        recordings.append(compute)
        return compute

    stacked._graphs.record = record
    for round in (1, 2):  # the second finds all of its steps recorded
        for k, member in enumerate(members):
            assigned(member, k, round=round)
        together(stacked, members)
        for k, member in enumerate(members):
            alone = assigned(Trainer(spec), k, round=round)
            alone.fit()
            assert apart(member, alone) < EXACT
    assert len(recordings) == options.get("r1_every", 1)
    assert not stacked._refused


@pytest.mark.parametrize("recorded", [False, True])
def test_the_mean_over_steps_of_each_client_is_that_of_the_loop(in_float64, recorded):
    spec = making("dcgan", HINGE(), steps=5, width=4, learning_rate=2.0**-8, adversary_learning_rate=2.0**-7)
    stacked, members = cohort(spec, num=2)
    stacked._graphs.record = (lambda compute: compute) if recorded else None
    for member in members:
        member.average_steps(0.25)
    together(stacked, members)
    assert not stacked._refused
    assert bool(stacked._graphs.steps) == recorded
    for k, member in enumerate(members):
        alone = assigned(Trainer(spec), k)
        alone.average_steps(0.25)
        alone.fit()
        expected = alone.averaged()
        assert {key.partition(".")[0] for key in expected} == {"generator"}
        assert member.averaged().keys() == expected.keys()
        weights = alone.parameters()
        assert max(float((value - weights[key]).abs().max()) for key, value in expected.items()) > 100 * EXACT
        for key, value in member.averaged().items():
            assert float((value - expected[key]).abs().max()) < EXACT


def test_clients_whose_means_fall_otherwise_are_trained_by_themselves():
    spec = making()
    stacked, members = cohort(spec, num=2)
    members[0].average_steps(0.25)
    together(stacked, members)
    for k, member in enumerate(members):
        assert apart(member, by_itself(spec, k)[0]) == 0
    assert members[0].averaged()
    assert members[1].average_decay is None


@pytest.mark.parametrize("why", ["draws", "hook", "unknown"])
def test_steps_that_are_not_always_the_same_are_not_recorded(why, monkeypatch):
    class Drawing(HINGE):
        def _discriminator_phase(self, networks, batch):
            loss, watched = super()._discriminator_phase(networks, batch)
            return loss + torch.rand((), generator=batch.generator), watched

    objective = Drawing() if why == "draws" else HINGE()
    if why == "unknown":
        phases = tuple(dataclasses.replace(phase, period=None) for phase in objective.phases())
        monkeypatch.setattr(HINGE, "phases", lambda objective: phases)
    request = Request(gradient_hook=lambda name, network: None) if why == "hook" else PLAIN
    stacked, members = cohort(making(objective=objective))
    stacked._graphs.record = lambda compute: pytest.fail("recorded")
    together(stacked, members, [request] * 3)
    assert stacked._graphs.record is not None


def test_clients_are_trained_together_where_a_recording_fails(in_float64):
    def fail(compute):
        raise RuntimeError("not permitted while recording")

    spec = making()
    stacked, members = cohort(spec)
    stacked._graphs.record = fail
    together(stacked, members)
    assert not stacked._refused
    assert all(apart(member, by_itself(spec, k)[0]) < EXACT for k, member in enumerate(members))


def test_weights_that_are_copied_for_all_clients_are_those_of_each_until_they_change():
    stacked, members = cohort(making())
    together(stacked, members)
    expected = [{key: value.clone() for key, value in member._state.items()} for member in members]
    copies = [member.parameters() for member in members]
    for own, copy, member in zip(expected, copies, members, strict=True):
        assert all(torch.equal(copy[key], own[key]) for key in own)
        assert copy.keys() == own.keys() == member.parameters().keys()
    before = [value._version for value in copies[1].values()]
    next(iter(copies[0].values())).zero_()
    assert [value._version for value in copies[1].values()] == before, "a client's own copy, whatever others write"
    assert all(torch.equal(members[0].parameters()[key], value) for key, value in expected[0].items())
    together(stacked, members)
    members[2].load(members[2].initial())
    assert all(torch.equal(members[2].parameters()[key], value) for key, value in members[2].initial().items())


def test_convolutions_of_clients_that_train_together_may_be_products(in_float64, monkeypatch):
    monkeypatch.setattr(written_out, "_on_gpu", lambda value: True)
    products = []
    for name in ("convolution", "transposed_convolution"):
        function = getattr(written_out, name)
        monkeypatch.setattr(
            written_out, name, lambda *given, f=function, **options: products.append(f) or f(*given, **options)
        )
    assert largest_difference(making("dcgan", HINGE(r1=1.0), width=4, steps=10, batch_size=2), num=2) < EXACT
    assert len(set(products)) == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("model", [name for name, kind in MODELS.items() if issubclass(kind, AdversarialModel)])
def test_clients_on_a_gpu_train_together_as_in_the_loop(in_float64, model):
    spec = making(model, HINGE(r1=1.0), device="cuda")
    assert largest_difference(spec) < EXACT


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_clients_train_together_in_mixed_precision_on_a_gpu():
    stacked, members = cohort(making("dcgan", device="cuda", mixed_precision=True))
    together(stacked, members)
    assert not stacked._refused
    assert all(tree.not_finite(member.parameters()) is None for member in members)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("model", [name for name, kind in MODELS.items() if issubclass(kind, AdversarialModel)])
def test_a_cuda_graph_trains_as_the_steps_that_it_records(in_float64, model):
    # Both add up gradients by atomics, in any order: float64 loses 1e-16 of a sum so; see ``in_float64``. Rates in a
    # graph are float32, which these fit.
    rates = {"learning_rate": 2.0**-8, "adversary_learning_rate": 2.0**-7}
    spec = making(model, "lsgan", device="cuda", steps=4, rule="adam beta1=0.9", batch_size=16, **rates)
    (plain, others), (stacked, members) = cohort(spec), cohort(spec)
    plain._graphs.record = None
    together(plain, others)
    together(stacked, members)
    assert stacked._graphs.record is not None
    assert len(stacked._graphs.steps) == 1
    for one, other in zip(others, members, strict=True):
        for key, value in one.parameters().items():
            torch.testing.assert_close(other.parameters()[key], value, rtol=0, atol=EXACT)
