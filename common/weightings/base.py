"""What a weighting is: one way to say how much each client counts in a mean."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from common.components import Component
from common.errors import FederationError
from common.exchange import Client, LocalTrainer, Reply


class Weighting(Component):
    """Base of every weighting, for any algorithm that takes a mean over clients."""

    needs_label_counts: ClassVar[bool] = False
    """Whether every client must say how many images of each class it holds."""

    measures_examples: ClassVar[bool] = False
    """Whether ``measure`` looks at the client's examples."""

    def measure(self, trainer: LocalTrainer) -> dict[str, float]:
        """Returns what a client adds to the metrics of its reply, from networks as they are after its training."""
        return {}

    @abstractmethod
    def weigh(self, replies: Sequence[Reply], clients: Mapping[int, Client]) -> list[float]:
        """Returns a weight for each reply: finite, >= 0, not all zero; their scale does not matter.

        Args:
            replies: Of one round, in order of partition, not empty.
            clients: What all clients of the federation said of themselves, by partition.
        """


def label_divergences(replies: Sequence[Reply], clients: Mapping[int, Client]) -> list[float]:
    """Returns KL(p_k || p) in nats for the client of each reply; p_k are its classes' shares, p those of all clients.

    No smoothing: a class that the client lacks adds 0 (the limit of x log x), and a class that it holds is held by the
    federation too, so that no term is infinite and the value is at most log(N / n_k).

    Raises:
        FederationError: A client keeps its labels to itself; names it.
    """
    silent = [k for k, client in clients.items() if client.label_counts is None]
    if silent or not all(reply.partition in clients for reply in replies):
        which = ", ".join(map(str, silent)) or "of a reply"
        raise FederationError(f"partition {which} has not said how many examples of each class it holds")
    counts = {k: client.label_counts or () for k, client in clients.items()}
    pooled = [math.fsum(column) for column in zip(*counts.values(), strict=True)]
    total = math.fsum(pooled)

    def divergence(own: Sequence[int]) -> float:
        size = sum(own)
        terms = (n / size * math.log(n / size * total / all_) for n, all_ in zip(own, pooled, strict=True) if n)
        return max(0.0, math.fsum(terms))

    return [divergence(counts[reply.partition]) for reply in replies]


def softmax(scores: Sequence[float]) -> list[float]:
    """Returns exp(s_k) / sum_j exp(s_j); the same weights if all scores move by the same amount."""
    highest = max(scores)
    powers = [math.exp(score - highest) for score in scores]
    total = math.fsum(powers)
    return [power / total for power in powers]
