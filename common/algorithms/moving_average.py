"""The moving average of a model's weights over the rounds, which is scored and published instead of the last."""

import torch
from pydantic import Field
from torch import Tensor

from common.components import Component
from common.tree import Tree, interpolate


class MovingAverage(Component):
    """The options of the moving average that the server keeps, and what it becomes in a round.

    That over the local steps of one round, ``ema-steps``, is in ``client/step_average.py`` and
    ``common/algorithms/fedavg.py``.
    """

    ema_half_life: float = Field(
        2.0, ge=0, description="half-life, in rounds, of the server's moving average of the generator; 0: off"
    )
    ema_ramp: float = Field(
        0.1, gt=0, le=1, description="the half-life is at most this share of the rounds done, to forget the start"
    )
    ema_adaptive: bool = Field(
        False,
        description="instead of the half-life, the share of the new in that average is how far the generator moved",
    )

    def moving_average(self, average: Tree, before: Tree, after: Tree, round: int) -> dict[str, Tensor]:
        """Returns the moving average of a generator that went from ``before`` to ``after`` in this round, from 1."""
        if self.ema_adaptive:
            keep = min(1.0 - relative_distance(before, after), 0.5 ** (1.0 / (self.ema_ramp * round)))
        else:
            keep = self.kept_share(round)
        return interpolate(average, after, keep)

    def kept_share(self, round: int) -> float:
        """Returns the share of the moving average that a round, from 1, leaves of it, as the half-life says."""
        share: float = 0.5 ** (1.0 / min(self.ema_half_life, self.ema_ramp * round))
        return share


def relative_distance(one: Tree, other: Tree) -> float:
    """Returns the mean over floating entries of |a - b| / (|a| + |b|), in [0, 1], with 0 for two zeros; in float64.

    It is the share of the new generator under ``ema-adaptive``, after PRISM (Seo et al. 2025, arXiv 2503.08085), which
    averages over the longer the less the model moves. There it is the share of bits in which the binary masks of two
    consecutive rounds differ, which is what this is for binary masks. Deviations: weights are real; and the average is
    only scored and published, where PRISM's is what clients go on from, and forgets its start as ``ema-ramp`` says.
    """
    keys = [key for key, value in one.items() if value.is_floating_point()]
    a, b = (torch.cat([tree[key].reshape(-1) for key in keys]).double() for tree in (one, other))
    size = a.abs() + b.abs()
    return float(((a - b).abs() / torch.where(size > 0, size, 1.0)).mean())
