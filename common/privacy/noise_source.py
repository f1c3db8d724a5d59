"""Random numbers that hide what is summed up: those that nobody else can draw again, or the run's in a simulation.

Noise is what a promise of privacy stands on: who could draw it again would subtract it. Where data are real it comes
from the operating system's cryptographic source, so that a run there cannot be repeated. The shards of a simulation are
parts of a data set that whoever started the run holds anyway: there it follows from the run's seed, which gives the
same bits in every runtime.
"""

import math
import secrets
from typing import Protocol

import torch
from torch import Tensor

_STATE_BEGINS, _STATE_WORDS = 24, 624
"""Where a generator of torch's keeps its words of 32 bits, in 8 bytes each, in its state; a test pins it."""


class NoiseSource(Protocol):
    """Random numbers, on the CPU."""

    generator: torch.Generator
    """For what is drawn beside noise, such as latents: never noise itself."""

    def normals(self, *shape: int) -> Tensor:
        """Draws standard normal numbers, float64."""

    def uniforms(self, num: int) -> Tensor:
        """Draws numbers (num,), float64, uniform in [0, 1)."""


class SeededNoise:
    """Noise that follows from the run's seed.

    Args:
        generator: Of whoever adds the noise, in this round.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def normals(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def uniforms(self, num: int) -> Tensor:
        return torch.rand(num, generator=self.generator, dtype=torch.float64)


class SystemNoise:
    """Noise of the operating system, by Box and Muller's transform; none of it is drawn from a generator of torch's.

    Those cut a seed to 32 bits: few enough to try them all, and to subtract the noise of each.
    """

    def __init__(self) -> None:
        self.generator = _system_generator()

    def normals(self, *shape: int) -> Tensor:
        num = math.prod(shape)
        first, second = self.uniforms(num + num % 2).chunk(2)
        radius, angle = (-2 * torch.log1p(-first)).sqrt(), 2 * math.pi * second
        return torch.cat([radius * angle.cos(), radius * angle.sin()])[:num].view(shape)

    def uniforms(self, num: int) -> Tensor:
        bits = torch.frombuffer(bytearray(secrets.token_bytes(8 * num)), dtype=torch.int64) if num else torch.empty(0)
        return (bits.long() & (2**53 - 1)).double() / 2**53


def _system_generator() -> torch.Generator:
    """Returns a generator whose whole state comes from the operating system.

    An example's draws must be as secret as its place in a batch: who knew those of each place would see examples move
    up where one is missing, and the sum would change by more than one clipped gradient.
    """
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    words = torch.frombuffer(bytearray(secrets.token_bytes(4 * _STATE_WORDS)), dtype=torch.int32).long() & 0xFFFFFFFF
    state[_STATE_BEGINS : _STATE_BEGINS + 8 * _STATE_WORDS] = words.view(torch.uint8)
    generator.set_state(state)
    return generator
