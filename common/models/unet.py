"""Small conditional U-Net for flows: the velocity of an example at a time, and its way from noise to an example."""

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from common.examples import ExampleSpec, ImageSpec
from common.models.base import NO_LABEL, Embedding, Model, Roles, Sampler, normalisation, require_images

Solver = Literal["euler", "heun"]


class UNet(Model):
    """One network v(x, t, y), the velocity at time t of an image on its way from noise (t = 0) to an example (t = 1).

    Pixels in blocks of 2x2, two residual blocks at half of the image's side, two at a quarter and two at half again,
    to which the maps of the first two are added; time and label change each block by a scale and a shift. Samples are
    made by ``steps`` steps of the differential equation dx/dt = v, of one pass each (``euler``) or two (``heun``; the
    last step has one), at equal times.
    ``guidance`` g takes v(x, t) + g (v(x, t, y) - v(x, t)), for objectives that leave labels out at times.
    """

    source: ClassVar[str] = (
        "Ronneberger et al. 2015 (arXiv 1505.04597); scale and shift: Dhariwal, Nichol 2021 (arXiv 2105.05233); "
        "Heun's steps: Karras et al. 2022 (arXiv 2206.00364), algorithm 1; guidance: Ho, Salimans "
        "2022 (arXiv 2207.12598)"
    )

    roles: ClassVar[Roles] = Roles(("velocity",))
    family: ClassVar[str] = "flow model"
    class_tables: ClassVar[tuple[str, ...]] = ("velocity.label.weight",)
    sampling: ClassVar[tuple[str, ...]] = ("steps", "solver", "guidance")

    width: int = Field(32, ge=8, le=512, multiple_of=8, description="channels at half of the image's side")
    steps: int = Field(12, ge=1, le=1000, description="steps from noise to an example")
    solver: Solver = Field("heun", description="of the differential equation")
    guidance: float = Field(1.0, ge=0, le=20, description="how much samples are held to their label; 1: off")

    def networks(self, spec: ExampleSpec) -> dict[str, nn.Module]:
        images = require_images("unet", spec, (28, 32, 64))
        return {"velocity": Velocity(images, self.width, images.num_classes if self.conditional else 0)}

    def sampler(self, networks: Mapping[str, nn.Module] | nn.ModuleDict) -> Sampler:
        network = networks["velocity"]
        return FlowSampler(network, self.steps, self.solver, self.guidance if self.conditional else 1.0)


class FlowSampler(Sampler):
    """Noise (B, C, S, S) and labels (B,) to images (B, C, S, S), along the velocities of a network."""

    def __init__(self, network: nn.Module, steps: int, solver: Solver, guidance: float) -> None:
        super().__init__()
        spec = network.spec
        assert isinstance(spec, ExampleSpec)
        self.spec, self.noise_shape = spec, spec.shape
        self.network = network
        self.steps, self.solver, self.guidance = steps, solver, guidance

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Returns the examples that the noise flows to; see ``Sampler``."""
        place, step = noise, 1.0 / self.steps
        for index in range(self.steps):
            here = self._velocity(place, index * step, labels)
            there = place + step * here
            if self.solver == "heun" and index < self.steps - 1:
                there = place + step * 0.5 * (here + self._velocity(there, (index + 1) * step, labels))
            place = there
        return place

    def _velocity(self, place: Tensor, time: float, labels: Tensor) -> Tensor:
        times = torch.full_like(labels, time, dtype=place.dtype)
        velocity: Tensor = self.network(place, times, labels)
        if self.guidance != 1.0:
            free = self.network(place, times, torch.full_like(labels, NO_LABEL))
            velocity = free + self.guidance * (velocity - free)
        return velocity


class Velocity(nn.Module):
    """Images (B, C, S, S), times (B,) in [0, 1] and labels (B,) or ``NO_LABEL`` to velocities (B, C, S, S).

    ``num_classes=0``: labels are not looked at.
    """

    def __init__(self, spec: ImageSpec, width: int, num_classes: int) -> None:
        super().__init__()
        self.spec = spec
        embedded = 4 * width
        self.frequencies = width // 2
        self.time = nn.Sequential(nn.Linear(width // 2 * 2, embedded), nn.SiLU(), nn.Linear(embedded, embedded))
        self.label = Embedding(num_classes + 1, embedded) if num_classes else None
        self.stem = nn.Conv2d(4 * spec.channels, width, 3, padding=1)
        self.down = nn.ModuleList([Block(width, embedded) for _ in range(2)])
        self.coarser = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.middle = nn.ModuleList([Block(2 * width, embedded) for _ in range(2)])
        self.finer = nn.Conv2d(2 * width, width, 1)
        self.up = nn.ModuleList([Block(width, embedded) for _ in range(2)])
        self.norm = normalisation("group", width)
        self.image = Out(width, 4 * spec.channels)

    def forward(self, images: Tensor, times: Tensor, labels: Tensor) -> Tensor:
        condition = self.time(waves(times, self.frequencies))
        if self.label is not None:
            condition = condition + self.label(labels - NO_LABEL)
        condition = F.silu(condition)
        maps = self.stem(F.pixel_unshuffle(images, 2))
        kept = []
        for block in self.down:
            maps = block(maps, condition)
            kept.append(maps)
        maps = self.coarser(maps)
        for block in self.middle:
            maps = block(maps, condition)
        maps = F.interpolate(self.finer(maps), size=kept[0].shape[-2:])
        for block in self.up:
            maps = block(maps + kept.pop(), condition)
        return F.pixel_shuffle(self.image(F.silu(self.norm(maps))), 2)


class Block(nn.Module):
    """Maps (B, C, H, H) and a condition (B, E) to maps (B, C, H, H): two 3x3 convolutions beside the identity."""

    def __init__(self, channels: int, embedded: int) -> None:
        super().__init__()
        self.before = normalisation("group", channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.between = normalisation("group", channels)
        self.condition = nn.Linear(embedded, 2 * channels)
        self.second = Out(channels, channels)

    def forward(self, maps: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.condition(condition)[:, :, None, None].chunk(2, dim=1)
        inner = self.first(F.silu(self.before(maps)))
        result: Tensor = maps + self.second(F.silu(self.between(inner) * (1 + scale) + shift))
        return result


class Out(nn.Conv2d):
    """A 3x3 convolution that starts at zero, so that what is around it starts as the identity, or as zero."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)

    def init_weights(self, generator: torch.Generator) -> None:
        """Zeroes the weights; see ``initialise``."""
        self.weight.zero_()
        if self.bias is not None:
            self.bias.zero_()


def waves(times: Tensor, frequencies: int) -> Tensor:
    """Returns sines and cosines of times (B,) in [0, 1], (B, 2 F): Vaswani et al. 2017 (arXiv 1706.03762), 3.5."""
    speeds = torch.exp(torch.arange(frequencies, device=times.device) * (-math.log(10_000.0) / frequencies))
    angles = 1000.0 * times[:, None] * speeds
    return torch.cat([angles.sin(), angles.cos()], dim=1)
