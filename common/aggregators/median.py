"""Robust by coordinate: the value in the middle."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from common.aggregators.base import Aggregator, lower_median
from common.tree import Tree


class Median(Aggregator):
    """Median of each coordinate; of an even number of clients the mean of the two values in the middle.

    Holds against anything that fewer than half of the clients send. One vote a client, whatever its number of images.
    """

    source: ClassVar[str] = "Yin, Chen, Ramchandran, Bartlett 2018 (arXiv 1803.01498), definition 1"

    def min_replies(self) -> int:
        return 3

    def merge(self, trees: Sequence[Tree], weights: Sequence[float], origin: Tree) -> dict[str, Tensor]:
        return {key: _median([tree[key] for tree in trees]) for key in trees[0]}


def _median(values: Sequence[Tensor]) -> Tensor:
    if not values[0].is_floating_point():
        return lower_median(values)
    ordered = torch.stack(list(values)).sort(dim=0).values  # the order is the same in any precision
    low, high = ordered[(len(values) - 1) // 2].double(), ordered[len(values) // 2].double()
    return (low + (high - low) / 2).to(values[0].dtype)
