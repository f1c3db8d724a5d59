"""Equal parts at random: every client is a fair sample of the whole."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from common.partitioners.base import Indices, Partitioner


class Iid(Partitioner):
    """Shuffles the images and deals them out in parts that differ by one image at most."""

    source: ClassVar[str] = "McMahan et al. 2017, arXiv:1602.05629, section 3 (IID)"

    def split(self, labels: Indices, num_clients: int, generator: np.random.Generator) -> Sequence[Indices]:
        """Returns the images of each client; see ``Partitioner.split``."""
        return np.array_split(generator.permutation(len(labels)), num_clients)
