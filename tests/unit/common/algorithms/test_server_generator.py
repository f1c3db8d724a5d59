"""server-generator: what clients send is clipped, what the server trains on is the noised mean, and no G is sent up."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parent))
from training import MODEL, SPEC, one_round, trainer_of

from common import tree
from common.algorithms import Client, Reply
from common.algorithms.on_server import load
from common.algorithms.server_generator import ServerGenerator
from common.config import RunConfig
from common.config_sections import LocalConfig
from common.errors import ConfigError
from common.models.base import ADVERSARIAL
from common.transforms import TRANSFORMS, Pipeline
from server import checkpoint
from server.checkpoint import Checkpoint
from server.rounds.base import Snapshot
from tests.unit.common.algorithms.training import make_context

LOCAL = LocalConfig(steps=4, batch_size=8)
CLIENTS = {k: Client(9, tuple(9 * (label == k) for label in range(10))) for k in range(3)}
CONTEXT = make_context(seed=5, clients=CLIENTS, model=MODEL, spec=SPEC, local=LOCAL)


def start(**options):
    algorithm = ServerGenerator(**options)
    return algorithm, algorithm.init(trainer_of().initial(), ADVERSARIAL)


def discriminator(weights):
    return tree.select(weights, ["discriminator"])


def test_a_client_sends_its_discriminator_only_trained_on_fakes_of_the_generator_it_received():
    algorithm, state = start()
    other = {**state.parameters, **tree.select(MODEL.build(SPEC, 9).state_dict(), ["generator"])}
    sent = []
    for parameters in (state.parameters, other):
        (reply,) = one_round(algorithm, replace(state, parameters=parameters), {0: {}}, context=CONTEXT)
        assert tree.networks_of(reply.arrays) == ("discriminator",)
        assert reply.arrays.keys() == algorithm.reply_template(state, CONTEXT).keys()
        assert "generator-loss" not in reply.metrics
        sent.append(tree.digest(reply.arrays))
    assert sent[0] != sent[1]


def test_the_generator_takes_one_step_against_the_mean_discriminator():
    algorithm, state = start(generator_steps=1)
    replies = one_round(algorithm, state, {0: {}, 1: {}, 2: {}}, context=CONTEXT)
    after = algorithm.update(state, replies, CONTEXT)
    mean = CONTEXT.mean(replies, discriminator(state.parameters))
    assert tree.digest(discriminator(after.parameters)) == tree.digest(mean)

    generator, judge = load(state.parameters, "generator", CONTEXT), load(mean, "discriminator", CONTEXT)
    latents, labels = algorithm.inputs(1, CONTEXT)
    F.softplus(-judge(generator(latents, labels), labels)).mean().backward()
    for name, weight in generator.named_parameters():
        stepped = weight.detach() - LOCAL.learning_rate * weight.grad / (weight.grad.abs() + 1e-8)
        torch.testing.assert_close(after.parameters[f"generator.{name}"], stepped, rtol=1e-4, atol=1e-6)


def test_training_the_generator_raises_the_mean_discriminators_opinion_of_it_and_does_not_move_it():
    algorithm, state = start(generator_steps=40)
    replies = one_round(algorithm, state, {0: {}, 1: {}}, context=CONTEXT)
    after = algorithm.update(state, replies, CONTEXT)
    latents, labels = algorithm.inputs(2, CONTEXT)
    judge = load(after.parameters, "discriminator", CONTEXT)
    before, now = (
        judge(load(weights, "generator", CONTEXT)(latents, labels), labels).mean().item()
        for weights in (state.parameters, after.parameters)
    )
    assert now > before + 0.5
    mean = CONTEXT.mean(replies, discriminator(state.parameters))
    assert tree.digest(discriminator(after.parameters)) == tree.digest(mean)


def test_noise_on_the_mean_reaches_the_generator():
    algorithm, state = start(generator_steps=1)
    replies = [Reply(k, 9, discriminator(state.parameters)) for k in range(3)]
    noisy = replace(CONTEXT, transforms=Pipeline.parse("clip norm=2 | noise multiplier=0.3", TRANSFORMS), round=1)
    ends = [algorithm.update(state, replies, context).parameters for context in (CONTEXT, noisy)]
    for network in ("discriminator", "generator"):
        assert len({tree.digest(tree.select(end, [network])) for end in ends}) == 2


def test_a_run_that_goes_on_from_a_checkpoint_ends_with_the_same_bits(tmp_path):
    algorithm, state = start()
    memories = {0: {}, 1: {}}
    state = algorithm.update(state, one_round(algorithm, state, memories, context=CONTEXT), CONTEXT)
    path = checkpoint.save_checkpoint(tmp_path, Checkpoint(Snapshot(state, memories), {}, {}), keep=1)
    ends = []
    for before in (state, checkpoint.load_checkpoint(path).snapshot.state):
        replies = one_round(algorithm, before, memories, context=CONTEXT)
        end = algorithm.update(before, replies, CONTEXT)
        ends.append([tree.digest(part) for part in (end.parameters, end.average, end.slots["generator-moments"])])
    assert ends[0] == ends[1]


@pytest.mark.parametrize("option", ["clip", "noise"])
def test_whoever_writes_what_has_moved_reads_what_to_write(option):
    with pytest.raises(ConfigError, match=rf"no option '{option}' any more: .*transforms='clip norm=..."):
        RunConfig(algorithm=f"server-generator {option}=1")
