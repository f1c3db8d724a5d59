"""Bounded influence: nobody's update is longer than the others'."""

import math
import statistics
from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from common.aggregators.base import Aggregator, lower_median, squared_distances
from common.tree import Tree


class NormClipped(Aggregator):
    """Mean of the updates, each cut to ``ratio`` times the median norm of the round's updates, added to the origin.

    Bounds how far a client can push, not in which direction: against fewer than half of the clients the round's step is
    never longer than ``ratio`` times an honest client's longest. One vote a client, whatever its number of images.
    Deviation from the paper: its threshold is a constant; the median needs no tuning, and follows the training.
    """

    source: ClassVar[str] = "Sun, Kairouz, Suresh, McMahan 2019 (arXiv 1911.07963), norm thresholding"

    ratio: float = Field(
        1.0, ge=1, description="longest update, in median norms of the round; below 1 even equal updates would be cut"
    )

    def min_replies(self) -> int:
        return 3

    def merge(self, trees: Sequence[Tree], weights: Sequence[float], origin: Tree) -> dict[str, Tensor]:
        norms = [math.sqrt(square) for square in squared_distances(origin, trees)]
        limit = self.ratio * statistics.median(norms)
        shares = [1.0 if norm <= limit else limit / norm for norm in norms]
        return {key: _mean([tree[key] for tree in trees], shares, origin[key]) for key in trees[0]}


def _mean(values: Sequence[Tensor], shares: Sequence[float], origin: Tensor) -> Tensor:
    if not origin.is_floating_point():
        return lower_median(values)
    start = origin.double()
    total = torch.zeros_like(start)
    for value, share in zip(values, shares, strict=True):
        # An update that is whole is taken as it is, without the rounding of a difference.
        total += value.double() if share == 1.0 else start + share * (value.double() - start)
    return total.div_(len(values)).to(origin.dtype)
