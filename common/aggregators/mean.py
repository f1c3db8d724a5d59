"""The mean of federated averaging: whoever holds more images counts for more, and whoever lies is believed."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from common.aggregators.base import Aggregator
from common.tree import Tree, weighted_mean

_TOGETHER = 256  # tables at a time: few calls, and little memory


class Mean(Aggregator):
    """Mean weighted as ``weighting`` says, by default by images, n_k / N.

    Not robust: a single client can move it anywhere.

    Deviation: where a model has a row of weights for each class (``Model.class_tables``), the next row is the mean over
    the clients who moved it. Who holds no image of the class sends the row as it was, and in a mean over all clients it
    would move the less the fewer hold the class: by a tenth of its way where each of ten holds one. The paper's mean is
    ``class-rows=all``. It is also the mean of these rows where every client moves all of them (weight decay, the
    corrections of ``scaffold`` after its first round, spectral normalisation, fake labels that are not the client's
    own, noise of private steps), under the transform ``noise``, and with ``privacy="client"``.

    Of an integer entry the largest value is taken.
    """

    source: ClassVar[str] = "McMahan et al. 2017 (arXiv 1602.05629), algorithm 1"

    one_vote_each: ClassVar[bool] = False

    class_rows: Literal["moved", "all"] = Field(
        "moved", description="who counts in the mean of a class's row: the clients who moved it, or all of them"
    )

    @property
    def by_movers(self) -> bool:
        return self.class_rows == "moved"

    def min_replies(self) -> int:
        return 1

    def merge(self, trees: Sequence[Tree], weights: Sequence[float], origin: Tree) -> dict[str, Tensor]:
        return weighted_mean(trees, weights)


def mean_over_movers(tables: Sequence[Tensor], weights: Sequence[float], origin: Tensor, mean: Tensor) -> Tensor:
    """Returns a table (R, D) of which each row is the mean over those who moved it, computed in float64.

    A row that all have moved is that of ``mean`` to the bit, and one that none has moved, or none of any weight, that
    of ``origin``.

    Args:
        tables: Of the clients (R, D) each.
        weights: How much each client counts, >= 0.
        origin: What they started from (R, D).
        mean: The mean over all of them (R, D).
    """
    total, summed = torch.zeros(len(origin), dtype=torch.float64), torch.zeros_like(origin, dtype=torch.float64)
    by_all = torch.ones(len(origin), dtype=torch.bool)
    for start in range(0, len(tables), _TOGETHER):
        together = torch.stack(list(tables[start : start + _TOGETHER]))
        moved = (together != origin).any(2)
        by_all &= moved.all(0)
        shares = moved * torch.tensor(weights[start : start + _TOGETHER], dtype=torch.float64)[:, None]
        total += shares.sum(0)
        summed += (shares[:, :, None] * together).sum(0)
    over_movers = torch.where(total[:, None] > 0, summed / total[:, None], origin).to(mean.dtype)
    return torch.where(by_all[:, None], mean, over_movers)
