"""What an aggregator is: one way to make the next weights of a round out of those that clients send."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from common.components import Component
from common.errors import FederationError
from common.tree import Tree, weighted_mean


class Aggregator(Component):
    """Base of every aggregator. Call ``combine``, which checks what goes into ``merge``.

    All but ``mean`` and ``secure-mean`` are robust: a few clients that send anything cannot lead the result away. They
    give each client one vote, as the number of images is the client's own word: whoever lies about it would have as
    many votes as it likes.
    """

    one_vote_each: ClassVar[bool] = True
    """Whether weights are not looked at."""

    sums_alone: ClassVar[bool] = False
    """Whether the server learns the sum of a round's updates and no single one, so that nothing may look at one."""

    @property
    def by_movers(self) -> bool:
        """Whether each row of a class is the mean over the clients who moved it, see ``mean_over_movers``."""
        return False

    @property
    def largest_change(self) -> float:
        """The largest change of an entry in a round that can be added up."""
        return math.inf

    @abstractmethod
    def min_replies(self) -> int:
        """Returns the fewest replies with which the aggregator does what its name says."""

    def needed(self, cohort: int) -> int:
        """Returns the fewest replies with which a round of so many clients succeeds."""
        return self.min_replies()

    @abstractmethod
    def merge(self, trees: Sequence[Tree], weights: Sequence[float], origin: Tree) -> dict[str, Tensor]:
        """Returns what ``combine`` does, for arguments that it has checked."""

    def combine(self, trees: Sequence[Tree], weights: Sequence[float], origin: Tree) -> dict[str, Tensor]:
        """Returns the next weights, computed in float64; of an integer entry the lower median of those who count.

        Args:
            trees: The clients' weights, in order of partition, so that nothing depends on who came first; finite, all
                with the same keys, shapes and dtypes. Not written to, though the result may share their memory.
            weights: The clients' numbers of images. Robust aggregators do not look at them.
            origin: The weights that the round started with, from which updates are measured.

        Raises:
            FederationError: Fewer trees than ``min_replies``.
            ValueError: Another number of weights than trees.
        """
        if len(trees) != len(weights):
            raise ValueError(f"{len(trees)} trees and {len(weights)} weights: one weight a tree")
        if len(trees) < self.min_replies():
            raise FederationError(
                f"aggregate={self.spec()!r} needs {self.min_replies()} replies, there are {len(trees)}"
            )
        return self.merge(trees, weights, origin)

    def advice(self, replies: int) -> str:
        """Returns the options with which so few replies would do, as ``"f <= 1"``; empty if there are none."""
        return ""


def lower_median(values: Sequence[Tensor]) -> Tensor:
    """Returns the median of each coordinate, the lower of the two in the middle of an even number of tensors."""
    return torch.stack(list(values)).median(dim=0).values


def unweighted_mean(trees: Sequence[Tree]) -> dict[str, Tensor]:
    """Returns the mean of the trees, one vote each; of an integer entry the lower median."""
    mean = weighted_mean(trees, [1.0] * len(trees))
    return {k: v if v.is_floating_point() else lower_median([tree[k] for tree in trees]) for k, v in mean.items()}


def squared_distances(one: Tree, others: Sequence[Tree]) -> list[float]:
    """Returns the squared Euclidean distance of each of ``others`` to ``one``, over the floating entries, in float64.

    From differences, as the Gram matrix loses the distance of trees that are close together and far from zero.
    """
    totals = [0.0] * len(others)
    for key, value in one.items():
        if value.is_floating_point():
            center = value.double()
            for index, other in enumerate(others):
                totals[index] += float((other[key].double() - center).square_().sum())
    return totals
