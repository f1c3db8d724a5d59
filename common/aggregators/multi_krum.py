"""Robust as a whole: the mean of the clients that are closest to their neighbours."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from common.aggregators.base import Aggregator, unweighted_mean
from common.aggregators.krum import ranked
from common.tree import Tree


class MultiKrum(Aggregator):
    """Mean of the ``m`` clients with the best scores (see ``krum``): less noise than one client's weights.

    One vote a client, whatever its number of images. Deviation: m + f replies are asked for, where the paper takes any
    m up to n; with more than n - f, at least one of f wild clients would always be in the mean.
    """

    source: ClassVar[str] = "Blanchard, El Mhamdi, Guerraoui, Stainer 2017 (arXiv 1703.02757), Multi-Krum"

    f: int = Field(1, ge=1, description="clients a round that may send anything")
    m: int = Field(0, ge=0, description="clients to average; 0: all replies but f")

    def min_replies(self) -> int:
        return max(2 * self.f + 3, self.m + self.f)

    def merge(self, trees: Sequence[Tree], weights: Sequence[float], origin: Tree) -> dict[str, Tensor]:
        best = ranked(trees, self.f)[: self.m or len(trees) - self.f]
        return unweighted_mean([trees[index] for index in sorted(best)])

    def advice(self, replies: int) -> str:
        if replies < 5:
            return ""
        f = min(self.f, (replies - 3) // 2)
        ways = [f"f <= {f}"] if f < self.f else []
        if self.m > replies - f:
            ways.append(f"m <= {replies - f}")
        return " and ".join(ways)
