"""Label skew: each class is shared out in proportions drawn from a Dirichlet distribution."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from common.errors import ConfigError
from common.partitioners.base import Indices, Partitioner

MAX_DRAWS = 100


class Dirichlet(Partitioner):
    """For every class, draws the clients' shares of it from Dir(alpha, ..., alpha).

    A draw that leaves a client below ``min_examples`` is drawn again, as published code does. Deviation: after
    ``MAX_DRAWS`` such draws, the best of them is repaired, by moving images that chance picks from the largest client
    to the smallest; so the split always ends.
    """

    source: ClassVar[str] = (
        "Yurochkin et al. 2019, arXiv:1905.12022, section 4, after Hsu et al. 2019, arXiv:1909.06335"
    )
    needs_labels: ClassVar[bool] = True

    alpha: float = Field(
        0.1, gt=0, le=1e6, description="concentration: near 0 a class goes to one client, large is iid"
    )
    min_examples: int = Field(1, ge=1, description="examples that every client has at least")

    def split(self, labels: Indices, num_clients: int, generator: np.random.Generator) -> Sequence[Indices]:
        """Returns the images of each client; see ``Partitioner.split``."""
        if num_clients * self.min_examples > len(labels):
            raise ConfigError(
                f"partition='dirichlet min-examples={self.min_examples}': {num_clients} clients need"
                f" {num_clients * self.min_examples} examples, and there are {len(labels)}"
            )
        classes, class_sizes = np.unique(labels, return_counts=True)
        cuts = self._cuts(class_sizes, num_clients, generator)
        of_class = [generator.permutation(np.flatnonzero(labels == label)) for label in classes]
        shares = [np.split(images, ends) for images, ends in zip(of_class, cuts, strict=True)]
        parts = [np.concatenate(of_client) for of_client in zip(*shares, strict=True)]
        return _repaired(parts, self.min_examples, generator)

    def _cuts(self, class_sizes: Indices, num_clients: int, generator: np.random.Generator) -> Indices:
        """Returns where to cut each class, (K, num_clients - 1): the first draw that will do, or else the best."""
        best, most = np.zeros((len(class_sizes), num_clients - 1), np.int64), -1
        for _ in range(MAX_DRAWS):
            shares = generator.dirichlet(np.full(num_clients, self.alpha), len(class_sizes))
            # Not past the class's end, which a sum of rounded shares may exceed.
            ends = np.minimum(shares.cumsum(axis=1)[:, :-1], 1) * class_sizes[:, None]
            cuts = ends.astype(np.int64)
            bounds = np.hstack([np.zeros((len(cuts), 1), np.int64), cuts, class_sizes[:, None]])
            smallest = int(np.diff(bounds, axis=1).sum(axis=0).min())
            if smallest > most:
                best, most = cuts, smallest
            if most >= self.min_examples:
                break
        return best


def _repaired(parts: list[Indices], min_examples: int, generator: np.random.Generator) -> list[Indices]:
    """Returns the parts with images moved from the largest to the smallest until none is below ``min_examples``."""
    parts = list(parts)
    while len(parts[poor := min(range(len(parts)), key=lambda client: len(parts[client]))]) < min_examples:
        rich = max(range(len(parts)), key=lambda client: len(parts[client]))
        moved = min(min_examples - len(parts[poor]), len(parts[rich]) - min_examples)
        shuffled = generator.permutation(parts[rich])
        parts[poor] = np.concatenate([parts[poor], shuffled[:moved]])
        parts[rich] = shuffled[moved:]
    return parts
