"""Distillation without data: a student learns to make what its teacher makes of the same noise and labels."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from common.models import Sampler
from common.seeding import torch_generator
from simulations.compression.pruning import apply_masks
from simulations.compression.student import Student

BATCH = 64
_RATE = 2e-3
_LEAST = 0.02  # of the rate, at the end
_BETAS = (0.9, 0.99)
_DECAY = 0.995  # of the moving average of the student's weights


def distil(
    teacher: Sampler,
    student: Student,
    classes: Sequence[int],
    steps: int,
    seed: int,
    masks: Mapping[str, Tensor],
    tell: Callable[[int, float], None] | None = None,
) -> None:
    """Trains a student in place: the mean absolute difference of its examples to the teacher's becomes small.

    As in Hinton, Vinyals, Dean 2015 (arXiv 1503.02531) the teacher is all that is learned from; the noise is drawn
    anew in each step, so the student sees no example twice. It ends with a moving average of its weights.

    Args:
        teacher: Makes the examples.
        student: Learns to.
        classes: Whose labels are drawn, evenly.
        steps: Of ``BATCH`` examples each; 0: nothing is learned.
        seed: Of noise and labels.
        masks: Weights that are zero, and stay so; see ``masks_of``.
        tell: Called with how many steps are done, and the difference, in the unit of the networks, every hundred steps.
    """
    source = torch_generator(seed, "distillation")
    networks = student.published()
    parameters = [value for network in networks.values() for value in network.parameters()]
    average = copy.deepcopy(nn.ModuleDict(networks))
    optimiser = torch.optim.Adam(parameters, _RATE, betas=_BETAS)
    student.sampler.train()
    known = torch.tensor(classes)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = _RATE * max(_LEAST, (1 + math.cos(math.pi * step / steps)) / 2)
        noise = torch.randn(BATCH, *teacher.noise_shape, generator=source)
        labels = known[torch.randint(len(known), (BATCH,), generator=source)]
        with torch.no_grad():
            expected = teacher(noise, labels)
        loss = (student.sampler(noise, labels) - expected).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        apply_masks(networks, masks)
        _follow(average, networks, min(_DECAY, (step + 1) / (step + 10)))
        if tell is not None and (step + 1) % 100 == 0:
            tell(step + 1, float(loss.detach()))
    for name, network in networks.items():
        network.load_state_dict(average[name].state_dict())
    apply_masks(networks, masks)
    student.sampler.eval()


@torch.no_grad()
def _follow(average: nn.ModuleDict, networks: Mapping[str, nn.Module], decay: float) -> None:
    """Moves the average towards the weights as they are; what is no weight, as statistics of batches, is copied."""
    for name, network in networks.items():
        for mean, value in zip(average[name].parameters(), network.parameters(), strict=True):
            mean.lerp_(value, 1 - decay)
        for kept, now in zip(average[name].buffers(), network.buffers(), strict=True):
            kept.copy_(now)
