"""A client counts as much as it has examples."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from common.exchange import Client, Reply
from common.weightings.base import Weighting


class Examples(Weighting):
    """w_k = n_k: every example has the same say."""

    source: ClassVar[str] = "McMahan et al. 2017 (arXiv 1602.05629), algorithm 1"

    def weigh(self, replies: Sequence[Reply], clients: Mapping[int, Client]) -> list[float]:
        return [float(reply.num_examples) for reply in replies]
