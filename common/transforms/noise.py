"""Noise on the mean of updates of bounded length."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field

from common.errors import ConfigError
from common.transforms.base import Transform
from common.tree import Tree


class Noise(Transform):
    """Normal noise of standard deviation multiplier * norm / K on the mean of K clients, each with equal weight.

    ``norm`` is that of the ``clip`` before it, without which one client's say would have no bound. The server draws the
    noise and nothing later sees the mean without it. **No epsilon is claimed:** nothing here counts what rounds spend,
    clients are not sampled as an accountant would ask, the server sees what each client sends, and the draws are those
    of a simulation, from the run's seed.
    """

    source: ClassVar[str] = "McMahan et al. 2018 (arXiv 1710.06963), algorithm 1, without the accountant"
    of_weights: ClassVar[bool] = True
    equal_weights: ClassVar[bool] = True
    caveat: ClassVar[str] = (
        "Noise was added to what clients sent, without an accountant, so it is no (epsilon, delta) guarantee."
    )

    multiplier: float = Field(1.0, gt=0, description="standard deviation of the noise, in the clip's norm / replies")

    def check(self, before: Sequence[Transform]) -> None:
        if all(math.isinf(other.longest) for other in before):
            raise ConfigError(
                f"noise multiplier={self.multiplier:g} counts in the longest update / replies: put a clip before it, "
                f"as in transforms='clip norm=1.0 | noise multiplier={self.multiplier:g}'"
            )

    def after_mean(self, mean: Tree, num_replies: int, longest: float, generator: torch.Generator) -> Tree:
        deviation = self.multiplier * longest / num_replies
        drawn = {key: torch.randn(mean[key].shape, generator=generator) for key in sorted(mean)}  # in any order alike
        return {
            key: value + deviation * drawn[key] if value.is_floating_point() else value.clone()
            for key, value in mean.items()
        }
