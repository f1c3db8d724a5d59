"""Quantity skew: clients of very different size, each a fair sample of the whole."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from common.partitioners.base import Indices, Partitioner


class Quantity(Partitioner):
    """Deals one image to each client, and the others by a power law: to the client of rank r in share of r^-exponent.

    Who has which rank is chance; so are the images.
    """

    source: ClassVar[str] = "sizes by a power law as in Li et al. 2020 (FedProx), arXiv:1812.06127, section 5.1"

    exponent: float = Field(1.0, ge=0, le=10, description="0: equal sizes; the larger, the more unequal")

    def split(self, labels: Indices, num_clients: int, generator: np.random.Generator) -> Sequence[Indices]:
        """Returns the images of each client; see ``Partitioner.split``."""
        shares = np.arange(1, num_clients + 1, dtype=np.float64) ** -self.exponent
        ideal = (len(labels) - num_clients) * shares / shares.sum()
        sizes = np.floor(ideal).astype(np.int64)
        # Largest remainder: those that rounding down cost most have one more, until the sum is right.
        lacking = len(labels) - num_clients - int(sizes.sum())
        sizes[np.argsort(sizes - ideal, kind="stable")[:lacking]] += 1
        sizes = generator.permutation(sizes + 1)
        return np.split(generator.permutation(len(labels)), np.cumsum(sizes)[:-1])
