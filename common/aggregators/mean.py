"""The mean of federated averaging: whoever holds more images counts for more, and whoever lies is believed."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from common.aggregators.base import Aggregator
from common.tree import Tree, weighted_mean


class Mean(Aggregator):
    """Mean weighted as ``weighting`` says, by default by images, n_k / N.

    Not robust: a single client can move it anywhere.

    Of an integer entry the largest value is taken.
    """

    source: ClassVar[str] = "McMahan et al. 2017 (arXiv 1602.05629), algorithm 1"

    one_vote_each: ClassVar[bool] = False

    def min_replies(self) -> int:
        return 1

    def merge(self, trees: Sequence[Tree], weights: Sequence[float], origin: Tree) -> dict[str, Tensor]:
        return weighted_mean(trees, weights)
