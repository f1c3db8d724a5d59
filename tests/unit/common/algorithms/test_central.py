"""A generator on the server is taught by its clients' feedback as if their discriminators stood beside it."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parent))
from training import MODEL, SPEC, one_round, trainer_of

from common import tree
from common.algorithms import ALGORITHMS, Client, Reply
from common.algorithms.central import CentralGenerator
from common.algorithms.on_server import OnServer, draw_labels, load
from common.components import parse
from common.config import RunConfig
from common.config_sections import LocalConfig
from common.errors import ConfigError
from common.models.base import ADVERSARIAL
from common.models.dcgan import DCGAN
from common.objectives import OBJECTIVES
from common.objectives.base import Objective
from common.seeding import torch_generator
from server import checkpoint
from server.checkpoint import Checkpoint
from server.rounds.base import Snapshot
from tests.unit.common.algorithms.training import make_context

CENTRAL = [name for name, kind in ALGORITHMS.items() if issubclass(kind, CentralGenerator)]
LOCAL = LocalConfig(steps=4, batch_size=8)
ONE_CLASS_EACH = {k: Client(9, tuple(9 * (label == k) for label in range(10))) for k in range(4)}
CONTEXT = make_context(seed=5, clients=ONE_CLASS_EACH, model=MODEL, spec=SPEC, local=LOCAL)


def make(spec):
    return parse("algorithm", ALGORITHMS, spec)


def alone(partition=0):
    return replace(CONTEXT, clients={partition: ONE_CLASS_EACH[partition]})


def play(algorithm, rounds, partitions, *, context=CONTEXT, state=None, memories=None):
    """Returns state and memories after some rounds of real training."""
    state = state or algorithm.init(trainer_of().initial(), ADVERSARIAL)
    memories = {k: {} for k in partitions} if memories is None else memories
    for _ in range(rounds):
        replies = one_round(algorithm, state, memories, context=context)
        state = algorithm.update(state, replies, context)
    return state, memories


def reference(algorithm, state, context, loss):
    """Returns the generator's gradient down ``loss`` of its images and labels, end to end, and one step of Adam."""
    generator = load(state.parameters, "generator", context)
    latents, labels = algorithm.inputs(state.round + 1, context)
    loss(generator(latents, labels), labels).backward()
    gradients, stepped = {}, {}
    for name, weight in generator.named_parameters():
        gradients[f"{name}.exp_avg"] = weight.grad  # beta1 = 0: the gradient itself
        stepped[f"generator.{name}"] = weight.detach() - LOCAL.learning_rate * weight.grad / (weight.grad.abs() + 1e-8)
    assert max(float(gradient.abs().max()) for gradient in gradients.values()) > 1e-3
    return gradients, stepped


def assert_close(ours, theirs):
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", CENTRAL)
def test_before_one_client_the_generator_descends_its_loss_through_that_discriminator(name):
    algorithm = make(f"{name} generator-steps=1")
    before = algorithm.init(trainer_of().initial(), ADVERSARIAL)
    after, memories = play(algorithm, 1, [0], context=alone())
    discriminator = load(memories[0]["discriminator"], "discriminator", CONTEXT)

    gradients, stepped = reference(
        algorithm, before, alone(), lambda images, labels: F.softplus(-discriminator(images, labels)).mean()
    )
    assert_close(after.slots["generator-moments"], gradients)
    assert_close(after.parameters, stepped)


MIXTURES = {
    "md-gan swap-every=0": lambda logits, shares: (shares * F.softplus(-logits)).sum(0).mean(),
    "md-gan swap-every=0 by-label=false": lambda logits, shares: F.softplus(-logits).mean(),
    "ua-gan": lambda logits, shares: F.softplus(-(shares * logits.exp()).sum(0).log()).mean(),
    "f2u": lambda logits, shares: F.softplus(-torch.where(shares > 0, logits, -torch.inf).amax(0)).mean(),
    "f2u by-label=false": lambda logits, shares: F.softplus(-logits.amax(0)).mean(),
}


@pytest.mark.parametrize("spec", MIXTURES)
def test_before_three_clients_the_generator_descends_the_loss_of_what_the_algorithm_makes_of_them(spec):
    algorithm = make(f"{spec} generator-steps=1")
    counts = [(4, 1, 4), (0, 7, 2), (3, 3, 3)]
    context = replace(CONTEXT, clients={k: Client(9, (*own, *[0] * 7)) for k, own in enumerate(counts)})
    state = algorithm.init(trainer_of().initial(), ADVERSARIAL)
    payload = algorithm.broadcast(state, [0], context)[0]
    networks, replies = [], []
    for k in range(3):  # discriminators that differ, and say both yes and no
        weights = tree.select(MODEL.build(SPEC, k + 1).state_dict(), ["discriminator"])
        weights["discriminator.logit.bias"] += 0.5 * (k - 1)
        networks.append(load(weights, "discriminator", context))
        trainer = trainer_of(k)
        trainer.load(weights)
        logits, gradients = trainer.feedback(payload.arrays["images"], payload.arrays["labels"])
        replies.append(Reply(k, 9, {"logits": logits, "gradients": gradients}))
    said = torch.stack([reply.arrays["logits"] for reply in replies])
    assert float(said.min()) < -0.1
    assert float(said.max()) > 0.1
    assert len(set(said.argmax(0).tolist())) > 1

    def loss(images, labels):
        table = torch.tensor(counts, dtype=torch.float32)
        logits = torch.stack([network(images, labels) for network in networks])
        return MIXTURES[spec](logits, (table / table.sum(0))[:, labels])

    gradients, _ = reference(algorithm, state, context, loss)
    assert_close(algorithm.update(state, replies, context).slots["generator-moments"], gradients)


@pytest.mark.parametrize("spec", ["md-gan swap-every=0", "ua-gan", "f2u"])
@pytest.mark.parametrize("key", ["gradients", "logits"])
def test_one_clients_huge_feedback_does_not_stop_the_generator_for_good(spec, key):
    algorithm = make(spec)
    context = replace(CONTEXT, objective=OBJECTIVES["non-saturating" if spec == "ua-gan" else "lsgan"]())
    start = algorithm.init(trainer_of().initial(), ADVERSARIAL)
    payload = algorithm.broadcast(start, [0], context)[0]
    replies = []
    for k in range(3):
        trainer = trainer_of(k)
        logits, gradients = trainer.feedback(payload.arrays["images"], payload.arrays["labels"])
        replies.append(Reply(k, 9, {"logits": logits + 0.1, "gradients": gradients}))
    hostile = replace(replies[1], arrays={**replies[1].arrays, key: torch.full_like(replies[1].arrays[key], 1e38)})

    def moved(second):
        once = algorithm.update(start, [replies[0], second, replies[2]], context)
        twice = algorithm.update(once, replies, context)
        return tree.distance(twice.parameters, once.parameters)

    assert moved(hostile) > 0.05 * moved(replies[1])


def test_with_one_client_all_of_them_are_the_same_algorithm_to_the_bit():
    ends = {
        tree.digest(play(make(spec), 3, [2], context=alone(2))[0].parameters)
        for spec in ("md-gan", "md-gan by-label=false", "ua-gan", "f2u", "f2u by-label=false")
    }
    assert len(ends) == 1


@pytest.mark.parametrize("name", CENTRAL)
def test_a_run_that_goes_on_from_a_checkpoint_ends_with_the_same_bits(name, tmp_path):
    algorithm = make(name)
    state, memories = play(algorithm, 2, [0, 1, 2])
    path = checkpoint.save_checkpoint(tmp_path, Checkpoint(Snapshot(state, memories), {}, {}), keep=1)
    loaded = checkpoint.load_checkpoint(path).snapshot
    kept = {k: dict(memory) for k, memory in loaded.clients.items()}
    ends = [
        play(algorithm, 2, [0, 1, 2], state=start, memories=memory)[0]
        for start, memory in ((state, {k: dict(m) for k, m in memories.items()}), (loaded.state, kept))
    ]
    for part in ("parameters", "average"):
        assert tree.digest(getattr(ends[0], part)) == tree.digest(getattr(ends[1], part))
    assert ends[0].slots.keys() == ends[1].slots.keys()
    assert all(tree.digest(ends[0].slots[slot]) == tree.digest(ends[1].slots[slot]) for slot in ends[0].slots)


@pytest.mark.parametrize("name", CENTRAL)
def test_replies_are_as_the_template_says_and_no_larger_than_what_it_takes(name):
    algorithm = make(f"{name} generator-steps=2")
    state = algorithm.init(trainer_of().initial(), ADVERSARIAL)
    template = algorithm.reply_template(state, CONTEXT)
    payload = algorithm.broadcast(state, [1], CONTEXT)[1]
    for reply in one_round(algorithm, state, {k: {} for k in range(3)}, context=CONTEXT):
        assert {k: (v.shape, v.dtype) for k, v in reply.arrays.items()} == {
            k: (v.shape, v.dtype) for k, v in template.items()
        }
    assert template["gradients"].shape == payload.arrays["images"].shape == (2 * 8, 1, 28, 28)
    assert payload.arrays["fakes"].shape == (4 * 8, 1, 28, 28)
    assert {v.dtype for v in payload.arrays.values()} == {torch.float32, torch.int64}
    assert not any(key.startswith("generator") for key in payload.arrays)


def test_fakes_have_their_clients_labels_and_the_images_to_judge_those_of_all_together():
    algorithm = make("f2u")
    state = algorithm.init(trainer_of().initial(), ADVERSARIAL)
    payloads = algorithm.broadcast(state, [1, 3], CONTEXT)
    assert [set(payloads[k].arrays["fake-labels"].tolist()) for k in (1, 3)] == [{1}, {3}]
    assert all(set(payload.arrays["labels"].tolist()) == {0, 1, 2, 3} for payload in payloads.values())
    assert torch.equal(payloads[1].arrays["images"], payloads[3].arrays["images"])
    again = algorithm.broadcast(state, [3], CONTEXT)[3]
    assert tree.digest(again.arrays) == tree.digest(payloads[3].arrays)
    later = algorithm.broadcast(replace(state, round=1), [3], CONTEXT)[3]
    assert not torch.equal(later.arrays["images"], again.arrays["images"])


def test_where_a_client_keeps_its_labels_to_itself_the_fakes_are_of_all_and_it_takes_those_of_its_own():
    silent = {**ONE_CLASS_EACH, 3: Client(9, None)}
    algorithm, context = make("f2u"), replace(CONTEXT, clients=silent, local=LocalConfig(steps=20, batch_size=8))
    state = algorithm.init(trainer_of().initial(), ADVERSARIAL)
    payload = algorithm.broadcast(state, [3], context)[3]
    assert set(payload.arrays["fake-labels"].tolist()) == set(payload.arrays["labels"].tolist()) == set(range(10))
    trainer, seen = trainer_of(3), {}

    def fit(**given):
        seen.update(given)
        return {}

    trainer.fit = fit
    algorithm.run(payload, trainer, {}, 3)
    images, labels = seen["given"]["fakes"], seen["given"]["fake-labels"]
    assert set(labels.tolist()) == {3}
    own = payload.arrays["fakes"][payload.arrays["fake-labels"] == 3]
    assert len(images) == len(labels) == 20 * 8
    assert {image.numpy().tobytes() for image in images} <= {image.numpy().tobytes() for image in own}


@pytest.mark.parametrize("name", CENTRAL)
def test_an_image_whose_label_nobody_holds_who_answered_moves_nothing(name):
    algorithm = make(f"{name} generator-steps=1")
    state = algorithm.init(trainer_of().initial(), ADVERSARIAL)
    replies = one_round(algorithm, state, {0: {}, 1: {}}, context=CONTEXT)
    _, labels = algorithm.inputs(1, CONTEXT)
    pull = algorithm.pull(replies, labels, CONTEXT)
    owned = labels < 2
    assert bool(owned.any())
    assert not bool(owned.all())
    assert bool((pull.flatten(1).abs().sum(1) > 0).eq(owned).all())
    assert not bool(algorithm.pull(replies, torch.full_like(labels, 9), CONTEXT).any())


@pytest.mark.parametrize("name", CENTRAL)
def test_discriminators_stay_with_their_clients_and_adams_moments_with_the_server(name):
    algorithm = make(name)
    state, memories = play(algorithm, 2, [0, 1])
    assert tree.networks_of(state.parameters) == ("generator",)
    assert all(tree.networks_of(memory["discriminator"]) == ("discriminator",) for memory in memories.values())
    assert tree.digest(memories[0]["discriminator"]) != tree.digest(memories[1]["discriminator"])
    steps = {float(v) for k, v in state.slots["generator-moments"].items() if k.endswith(".step")}
    assert steps == {2.0 * LOCAL.steps}


@pytest.mark.parametrize("spec", ["md-gan swap-every=0", "ua-gan", "f2u"])
def test_a_discriminator_goes_on_from_what_its_client_kept_and_else_from_the_common_start(spec):
    algorithm = make(spec)
    state = algorithm.init(trainer_of().initial(), ADVERSARIAL)
    payload = algorithm.broadcast(state, [0], CONTEXT)[0]
    kept = tree.select(MODEL.build(SPEC, 7).state_dict(), ["discriminator"])
    for memory, expected in (({"discriminator": kept}, kept), ({}, trainer_of().initial())):
        trainer = trainer_of()
        trainer.load({key: value + 1 for key, value in trainer.initial().items()})  # another client was here before
        trainer.fit = lambda **given: {}
        algorithm.run(payload, trainer, memory, 0)
        assert tree.digest(memory["discriminator"]) == tree.digest(tree.select(expected, ["discriminator"]))


def test_another_rate_of_the_generator_is_taken_from_the_option():
    start = make("f2u").init(trainer_of().initial(), ADVERSARIAL)
    moved = []
    for rate in (0.0, 4e-3, 8e-3):
        after, _ = play(make(f"f2u generator-steps=1 generator-learning-rate={rate}"), 1, [0], context=alone())
        moved.append(tree.distance(after.parameters, start.parameters))
    assert moved[0] == moved[1]  # 0 is local.learning-rate, 4e-3
    assert moved[2] == pytest.approx(2 * moved[1], rel=1e-3)


def test_the_generators_rate_falls_as_the_clients_do():
    start = make("f2u").init(trainer_of().initial(), ADVERSARIAL)
    moved = {}
    for round, num_rounds in ((1, 1), (1, 3), (2, 3), (3, 3)):
        local = LocalConfig(steps=1, schedule="linear", final_rate=0.1)
        context = replace(alone(), local=local, num_rounds=num_rounds)
        state = replace(start, round=round - 1)
        after, _ = play(make("f2u generator-steps=1"), 1, [0], state=state, context=context)
        moved[round, num_rounds] = tree.distance(after.parameters, start.parameters)
    assert moved[1, 3] == moved[1, 1]
    assert moved[2, 3] / moved[1, 1] == pytest.approx(0.55, rel=1e-2)
    assert moved[3, 3] / moved[1, 1] == pytest.approx(0.1, rel=1e-2)


@pytest.mark.parametrize("option", ["augment=translation", "instance-noise=0.1"])
def test_images_that_only_clients_would_change_are_refused(option):
    with pytest.raises(ConfigError, match="leave out augment and instance-noise"):
        RunConfig.from_flat({"algorithm": "md-gan", "objective": f"non-saturating {option}"})


def test_labels_are_drawn_in_proportion_to_counts():
    labels = draw_labels([3, 0, 1], 4000, torch_generator(0, "labels"))
    assert labels.dtype == torch.int64
    counts = torch.bincount(labels, minlength=3).tolist()
    assert counts[1] == 0
    assert counts[0] == pytest.approx(3000, abs=150)


@pytest.mark.parametrize("name", [name for name, kind in ALGORITHMS.items() if issubclass(kind, OnServer)])
def test_logits_that_depend_on_a_batch_are_refused_where_clients_send_their_gradients(name):
    settings = {"algorithm": name, "model": "dcgan minibatch-std=true"}
    if name in CENTRAL:
        with pytest.raises(ConfigError, match="leave out minibatch-std"):
            RunConfig.from_flat(settings)
    else:
        assert RunConfig.from_flat(settings).model_component.judges_batches


@pytest.mark.parametrize("name", [*CENTRAL, "server-generator"])
def test_an_objective_without_a_loss_of_logits_is_refused(name):
    with pytest.raises(ConfigError, match="no loss of a discriminator's logits"):
        make(name).check(Objective(), CONTEXT.aggregator, DCGAN())
    make(name).check(OBJECTIVES["non-saturating"](), CONTEXT.aggregator, DCGAN())


@pytest.mark.parametrize(("spec", "limited"), [("f2u", 0), ("md-gan swap-every=0", 0), ("md-gan", 1)])
def test_the_length_of_feedback_is_not_limited_and_that_of_a_travelling_discriminator_is(spec, limited):
    algorithm = make(spec)
    parts = algorithm.reply_parts(
        algorithm.reply_template(algorithm.init(trainer_of().initial(), ADVERSARIAL), CONTEXT)
    )
    assert [tree.networks_of(part) for part in parts] == [("discriminator",)] * limited
