"""The moving average over the rounds, by hand."""

from dataclasses import replace

import pytest
import torch

from common.algorithms import ALGORITHMS, Reply
from common.algorithms.moving_average import relative_distance
from common.components import parse
from common.models.base import ADVERSARIAL
from tests.unit.common.algorithms.training import make_context

INITIAL = {
    "generator.w": torch.tensor([1.0, -2.0, 0.5]),
    "generator.n": torch.tensor(0),
    "discriminator.w": torch.tensor([[0.25, 4.0]]),
}
CONTEXT = make_context()


def make(spec):
    return parse("algorithm", ALGORITHMS, spec)


def test_moving_average_has_the_half_life_it_says():
    algorithm = make("fedavg ema-half-life=2 ema-ramp=1")
    state = algorithm.init(INITIAL, ADVERSARIAL)
    first = {k: v + 1 for k, v in algorithm.shared(INITIAL, ADVERSARIAL).items()}
    after_one = algorithm.update(state, [Reply(0, 1, first)], CONTEXT)
    # round 1: the half-life is ramped to 1 round, so half of the way
    assert torch.allclose(after_one.average["generator.w"], INITIAL["generator.w"] + 0.5)
    after_two = algorithm.update(after_one, [Reply(0, 1, first)], CONTEXT)
    # round 2 on: half-life 2, so 1 - 2^-1/2 of what is left
    expected = INITIAL["generator.w"] + 1 - 0.5 * 0.5**0.5
    assert torch.allclose(after_two.average["generator.w"], expected)
    assert list(after_two.average) == ["generator.w", "generator.n"]


def test_the_adaptive_average_takes_as_much_of_the_new_as_the_generator_moved():
    algorithm = make("fedavg ema-adaptive=true")
    start = replace(algorithm.init(INITIAL, ADVERSARIAL), round=10_000)  # when the ramp is over
    weights = INITIAL["generator.w"]
    for moved, share in ((weights * 3, 0.5), (weights, 0.0), (-weights, 1.0), (weights * 1.5, 0.2)):
        reply = Reply(0, 1, INITIAL | {"generator.w": moved, "discriminator.w": torch.tensor([[1e6, 0.0]])})
        after = algorithm.update(start, [reply], CONTEXT)
        torch.testing.assert_close(after.average["generator.w"], weights + share * (moved - weights))
    # the share is that of the last round's step, whatever the average has become
    there = algorithm.update(start, [Reply(0, 1, INITIAL | {"generator.w": weights * 3})], CONTEXT)
    back = algorithm.update(there, [Reply(0, 1, INITIAL)], CONTEXT)
    torch.testing.assert_close(back.average["generator.w"], weights * 1.5)  # half of 2 and 1
    # and the start is forgotten as it is without: half of it in the first round, under a ramp of 1
    first = make("fedavg ema-adaptive=true ema-ramp=1")
    after = first.update(
        first.init(INITIAL, ADVERSARIAL), [Reply(0, 1, INITIAL | {"generator.w": weights * 1.5})], CONTEXT
    )
    torch.testing.assert_close(after.average["generator.w"], weights * 1.25)


def test_a_generator_moves_by_the_share_of_its_bits_that_flip_and_by_shares_in_between():
    masks = torch.randint(0, 2, (2, 50), generator=torch.Generator().manual_seed(0)).float()
    flipped = (masks[0] != masks[1]).float().mean().item()
    assert 0.3 < flipped < 0.7
    trees = [{"generator.w": mask, "generator.n": torch.tensor(k)} for k, mask in enumerate(masks)]
    assert relative_distance(*trees) == pytest.approx(flipped)
    real = [{"generator.a": torch.tensor([w]), "generator.b": torch.tensor([-2.0, 0.0])} for w in (1.0, 4.0)]
    assert relative_distance(*real) == pytest.approx(0.6 / 3)
    assert relative_distance(*real) == relative_distance(*real[::-1])
