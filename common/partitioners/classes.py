"""Label skew: every client holds the same number of classes."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from common.errors import ConfigError
from common.partitioners.base import Indices, Partitioner


class Classes(Partitioner):
    """Deals ``per_client`` classes to each client, and shares a class's images evenly among its holders.

    The numbers of holders of two classes differ by one at most; who holds which is chance.
    """

    source: ClassVar[str] = "Li, Diao, Chen and He 2022, arXiv:2102.02079, section 4.1 (quantity-based label imbalance)"
    needs_labels: ClassVar[bool] = True

    per_client: int = Field(2, ge=1, description="classes a client")

    def split(self, labels: Indices, num_clients: int, generator: np.random.Generator) -> Sequence[Indices]:
        """Returns the images of each client; see ``Partitioner.split``."""
        present, class_sizes = np.unique(labels, return_counts=True)
        num_classes, hands = len(present), num_clients * self.per_client
        option = f"partition='classes per-client={self.per_client}'"
        if self.per_client > num_classes:
            raise ConfigError(f"{option}: the data have only {num_classes} classes")
        if hands < num_classes:
            raise ConfigError(
                f"{option}: {num_clients} clients hold {hands} classes, which leaves out some of {num_classes}; use"
                f" per-client={-(-num_classes // num_clients)} or more"
            )
        # Giving each client the classes held least keeps the numbers of holders within one of each other.
        holders: list[list[int]] = [[] for _ in present]
        for client in range(num_clients):
            shuffled = generator.permutation(num_classes)
            for chosen in sorted(shuffled, key=lambda k: len(holders[k]))[: self.per_client]:
                holders[chosen].append(client)
        parts: list[list[Indices]] = [[] for _ in range(num_clients)]
        for label, size, clients in zip(present, class_sizes, holders, strict=True):
            if len(clients) > size:
                raise ConfigError(f"{option}: {len(clients)} clients would share the {size} examples of class {label}")
            images = generator.permutation(np.flatnonzero(labels == label))
            for client, share in zip(clients, np.array_split(images, len(clients)), strict=True):
                parts[client].append(share)
        return [np.concatenate(part) for part in parts]
