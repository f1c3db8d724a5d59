"""Robust by coordinate: the mean without the extremes."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from common.aggregators.base import Aggregator, lower_median
from common.tree import Tree


class TrimmedMean(Aggregator):
    """Mean of each coordinate without its largest and its smallest values, the share ``beta`` of the clients each.

    Holds against anything that up to ``beta`` of the clients send. Of n clients floor(beta n) are cut off at either
    end. One vote a client, whatever its number of images.
    """

    source: ClassVar[str] = "Yin, Chen, Ramchandran, Bartlett 2018 (arXiv 1803.01498), definition 2"

    beta: float = Field(
        0.2, gt=0, lt=0.5, description="share of the clients cut off at either end; at 0.5 none is left"
    )

    def min_replies(self) -> int:
        return math.ceil(1 / self._share)

    def merge(self, trees: Sequence[Tree], weights: Sequence[float], origin: Tree) -> dict[str, Tensor]:
        cut = math.floor(self._share * len(trees))
        return {key: _trimmed([tree[key] for tree in trees], cut) for key in trees[0]}

    def advice(self, replies: int) -> str:
        return f"beta >= {math.ceil(1000 / replies) / 1000:g}" if replies > 2 else ""

    @property
    def _share(self) -> Fraction:
        """``beta`` as it is written: 0.29 of 100 clients are 29, where floating point has 28.999..."""
        return Fraction(str(self.beta))


def _trimmed(values: Sequence[Tensor], cut: int) -> Tensor:
    if not values[0].is_floating_point():
        return lower_median(values)
    ordered = torch.stack(list(values)).sort(dim=0).values  # the order is the same in any precision
    total = torch.zeros_like(values[0], dtype=torch.float64)
    for value in ordered[cut : len(values) - cut]:
        total += value
    return total.div_(len(values) - 2 * cut).to(values[0].dtype)
