"""Robust as a whole: the one client that is closest to its neighbours."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from common.aggregators.base import Aggregator, squared_distances
from common.tree import Tree


class Krum(Aggregator):
    """The weights of one client: that whose n - f - 2 nearest others are nearest, by their squared distances' sum.

    Holds against ``f`` clients that send anything, of at least 2 f + 3. Of clients with equal sums that of the lowest
    partition is taken. One vote a client, whatever its number of images.
    """

    source: ClassVar[str] = "Blanchard, El Mhamdi, Guerraoui, Stainer 2017 (arXiv 1703.02757), Krum"

    f: int = Field(1, ge=1, description="clients a round that may send anything")

    def min_replies(self) -> int:
        return 2 * self.f + 3

    def merge(self, trees: Sequence[Tree], weights: Sequence[float], origin: Tree) -> dict[str, Tensor]:
        return dict(trees[ranked(trees, self.f)[0]])

    def advice(self, replies: int) -> str:
        return f"f <= {(replies - 3) // 2}" if replies >= 5 else ""


def ranked(trees: Sequence[Tree], f: int) -> list[int]:
    """Returns the trees' indices by Krum's score, the lowest first; of equal ones the lower index first.

    Args:
        trees: n trees, n >= f + 3.
        f: How many of them may be anything; a score sums the squared distances to the n - f - 2 closest others.
    """
    n = len(trees)
    squares = [[0.0] * n for _ in trees]
    for i in range(n - 1):
        for j, square in enumerate(squared_distances(trees[i], trees[i + 1 :]), start=i + 1):
            squares[i][j] = squares[j][i] = square
    scores = [sum(sorted(row[:i] + row[i + 1 :])[: n - f - 2]) for i, row in enumerate(squares)]
    return sorted(range(n), key=lambda i: (scores[i], i))
