"""IFL-GAN: generators are mixed by how little they have converged; discriminators stay."""

import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from training import MODEL, one_round, trainer_of

from common import tree
from common.algorithms import Reply
from common.algorithms.fedavg import FedAvg
from common.algorithms.ifl_gan import IFLGAN
from common.models.base import ADVERSARIAL
from common.weightings import Uniform
from tests.unit.common.algorithms.training import make_context


def test_the_less_converged_generator_counts_more():
    algorithm = IFLGAN(temperature=0.25)
    state = algorithm.init({"generator.w": torch.zeros(1), "discriminator.w": torch.zeros(1)}, ADVERSARIAL)
    assert list(state.parameters) == ["generator.w"]
    replies = [
        Reply(k, 1 + 99 * k, {"generator.w": torch.tensor([float(k)])}, {"mmd": mmd}) for k, mmd in enumerate((0.5, 0))
    ]
    after = algorithm.update(state, replies, make_context())
    assert after.parameters["generator.w"].item() == pytest.approx(1 / (1 + math.exp(0.5 / 0.25)))


def test_a_reply_reports_the_mmd_of_the_trained_generator_to_the_clients_images():
    algorithm, trainer, memory = IFLGAN(), trainer_of(), {}
    state = algorithm.init(trainer.initial(), ADVERSARIAL)
    reply = algorithm.run(algorithm.broadcast(state, [0], make_context(model=MODEL))[0], trainer, memory, 0)
    assert tree.networks_of(reply.arrays) == ("generator",)
    assert tree.networks_of(memory["personal"]) == ("discriminator",)
    again = trainer_of()
    again.load(reply.arrays)
    assert algorithm.weighting.measure(again) == {"mmd": reply.metrics["mmd"]}
    assert 0.1 < reply.metrics["mmd"] < 2  # random images against those of a generator that has just begun


def test_a_very_high_temperature_is_fedavg_of_generators_with_uniform_weights():
    ends = []
    for algorithm, weighting in ((IFLGAN(temperature=1e300), Uniform()), (FedAvg(sync="generator"), Uniform())):
        context, memories = make_context(model=MODEL, weighting=weighting), {0: {}, 3: {}}
        state = algorithm.init(trainer_of().initial(), ADVERSARIAL)
        for _ in range(2):
            state = algorithm.update(state, one_round(algorithm, state, memories), context)
        ends.append(tree.digest(state.parameters) + tree.digest(memories[3]["personal"]))
    assert ends[0] == ends[1]
