"""Flow matching: the regression by hand, and a sampler that ends where a known flow does."""

import pytest
import torch
from torch import nn

from common.examples import ImageSpec
from common.models.base import NO_LABEL
from common.models.unet import FlowSampler
from common.objectives import Batch, DrawSource
from common.objectives.flow_matching import FlowMatching
from common.seeding import torch_generator

SPEC = ImageSpec(1, 2, 3)


class Recorder(nn.Module):
    """Answers zero, and remembers what it was asked."""

    def forward(self, images, times, labels):
        self.requested = images, times, labels
        return torch.zeros_like(images)


def batch(num=4, **changes):
    source = DrawSource(num, torch_generator(0, "draws"), torch.arange(3), SPEC.shape, SPEC.shape)
    objective = FlowMatching(**changes)
    images = torch.rand(num, 1, 2, 2, generator=source.generator) * 2 - 1
    return objective, Batch(images, torch.arange(num) % 3, objective.draw(source), source.generator)


def test_the_loss_is_the_squared_distance_to_the_straight_paths_velocity():
    objective, given = batch(label_dropout=0.0)
    network = Recorder()
    (phase,) = objective.phases()
    loss, _ = phase.loss({"velocity": network}, given)
    noise, times = given.draws["noise"], given.draws["times"].view(-1, 1, 1, 1)
    assert torch.allclose(network.requested[0], noise + times * (given.examples - noise))
    assert torch.equal(network.requested[1], given.draws["times"])
    assert torch.equal(network.requested[2], given.labels)
    assert loss.item() == pytest.approx((given.examples - noise).square().mean().item(), rel=1e-6)


def test_the_velocity_itself_has_no_loss():
    objective, given = batch()

    class Right(nn.Module):
        def forward(self, images, times, labels):
            return given.examples - given.draws["noise"]

    assert objective.phases()[0].loss({"velocity": Right()}, given)[0].item() == 0


def test_labels_are_left_out_at_their_share():
    objective, given = batch(2000, label_dropout=0.25)
    network = Recorder()
    objective.phases()[0].loss({"velocity": network}, given)
    left_out = network.requested[2] == NO_LABEL
    assert left_out.double().mean().item() == pytest.approx(0.25, abs=0.04)
    assert torch.equal(network.requested[2][~left_out], given.labels[~left_out])


@pytest.mark.parametrize(("times", "spread"), [("uniform", 1 / 12**0.5), ("logistic-normal", 0.2083)])
def test_times_have_their_distribution(times, spread):
    drawn = batch(20_000, times=times)[1].draws["times"]
    assert 0 <= drawn.min() < 0.05
    assert 0.95 < drawn.max() <= 1
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.01)
    assert drawn.std().item() == pytest.approx(spread, abs=0.01)


class Field(nn.Module):
    """dx/dt = a x + label, or a x where the label is left out."""

    spec = SPEC

    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, images, times, labels):
        return self.rate * images + labels.clamp_min(0).view(-1, 1, 1, 1)


def ends(solver, steps, guidance=1.0, labels=(0, 0)):
    sampler = FlowSampler(Field(1.0), steps, solver, guidance)
    return sampler(torch.ones(2, 1, 2, 2), torch.tensor(labels))[0, 0, 0, 0].item()


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_a_sampler_ends_where_the_flow_does_and_its_error_falls_with_its_order(solver, order):
    errors = [abs(ends(solver, steps) - torch.e) for steps in (40, 80, 160)]
    assert errors[-1] < 0.02
    # Heun's last step is Euler's, whose local error is of the second order: both fall by half or by a quarter.
    ratios = [errors[k] / errors[k + 1] for k in range(2)]
    assert all(2**order * 0.8 < ratio < 2**order * 1.2 for ratio in ratios)


def test_one_step_of_euler_is_the_velocity_at_the_start():
    assert ends("euler", 1) == pytest.approx(2.0)
    assert ends("heun", 2) == pytest.approx((1 + 0.5 * 0.5 * (1 + 1.5)) * 1.5)  # one of Heun's, then one of Euler's


def test_guidance_goes_further_from_what_is_made_without_a_label():
    free, held, guided = (ends("euler", 1, g, (2, 2)) for g in (0.0, 1.0, 3.0))
    assert (free, held, guided) == (2.0, 4.0, 8.0)
