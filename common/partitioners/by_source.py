"""A natural split: every client holds what comes from one source."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from common.errors import ConfigError
from common.partitioners.base import Indices, Partitioner
from common.seeding import numpy_generator


class BySource(Partitioner):
    """Gives each client the examples of one source: the lines of a role, the text of a file.

    Where there are more sources than clients, those with most examples have a client each, in the order of the data,
    and the others are left out. There is no chance in it.
    """

    source: ClassVar[str] = "McMahan et al. 2017, arXiv:1602.05629, section 3 (a client a role of Shakespeare's plays)"

    min_examples: int = Field(1, ge=1, description="sources with fewer examples have no client")

    @property
    def splits_by_source(self) -> bool:
        return True

    def deal(self, labels: Indices, num_clients: int, seed: int) -> Sequence[Indices]:
        """Returns the examples of each client; see ``Partitioner.deal``. Those of other sources are left out."""
        return self.split(labels, num_clients, numpy_generator(seed, "partition"))

    def split(self, labels: Indices, num_clients: int, generator: np.random.Generator) -> Sequence[Indices]:
        """Returns the examples of each client, of the sources with most; see ``Partitioner.split``.

        Args:
            labels: (N,) int64, the source of each example.
            num_clients: At most the number of sources with ``min_examples`` examples.
            generator: Is not drawn from.
        """
        sizes = np.unique(labels, return_counts=True)[1]
        largest = np.argsort(-sizes, kind="stable")
        largest = largest[sizes[largest] >= self.min_examples]
        if len(largest) < num_clients:
            raise ConfigError(
                f"partition='by-source min-examples={self.min_examples}': {len(largest)} sources have as many examples,"
                f" a client each: set federation.num-clients={len(largest)} or fewer"
            )
        order = np.argsort(labels, kind="stable")
        parts = np.split(order, np.cumsum(sizes)[:-1])
        return [parts[place] for place in sorted(largest[:num_clients])]
