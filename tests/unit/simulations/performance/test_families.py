"""The losses that a person writes are those of the objectives, so that both sides of a figure do the same work."""

import pytest
import torch

from client.data import load
from common.objectives import Batch, DrawSource
from common.seeding import torch_generator
from simulations.performance.families import _SMALL, FAMILIES, Loop, config_of


@pytest.mark.parametrize("model", FAMILIES)
def test_a_hand_written_loss_is_the_objectives_and_its_loop_moves_the_weights(model):
    settings, loss = FAMILIES[model]
    config = config_of(settings, 1).replaced({"model": _SMALL[model], "local.batch-size": 3})
    loop, objective = Loop(config, loss), config.objective_component
    data = load(config.data)
    examples, labels = data.spec.to_input(data.train.stored[:3]), data.train.labels[:3]
    noise_shape = config.model_component.sampler(loop._networks).noise_shape
    source = DrawSource(3, torch_generator(0, "draws"), data.train.labels, noise_shape, data.spec.shape)
    batch = Batch(examples, labels, objective.draw(source), source.generator)
    (phase,) = objective.phases()
    expected, _ = phase.loss(dict(loop._networks.items()), batch)
    found = loss(loop._networks, examples, labels, torch_generator(0, "draws"))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    before = [weights.clone() for weights in loop._networks.parameters()]
    loop.run(1)
    assert any(not torch.equal(old, new) for old, new in zip(before, loop._networks.parameters(), strict=True))
