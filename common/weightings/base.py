"""What a weighting is: one way to say how much each client counts in a mean."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from common.components import Component
from common.exchange import Client, LocalTrainer, Reply


class Weighting(Component):
    """Base of every weighting, for any algorithm that takes a mean over clients."""

    needs_label_counts: ClassVar[bool] = False
    """Whether every client must say how many images of each class it holds."""

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
