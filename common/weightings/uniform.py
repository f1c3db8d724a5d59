"""Every client counts the same."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from common.exchange import Client, Reply
from common.weightings.base import Weighting


class Uniform(Weighting):
    """w_k = 1: every client has the same say, whatever it says it holds."""

    source: ClassVar[str] = "Fan, Liu 2020 (arXiv 2005.03793)"

    def weigh(self, replies: Sequence[Reply], clients: Mapping[int, Client]) -> list[float]:
        return [1.0] * len(replies)
