"""What a partitioner is: one way to share out a data set among simulated clients, by its labels alone."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from common.components import Component
from common.errors import ConfigError
from common.seeding import numpy_generator

Indices = npt.NDArray[np.int64]


class Partitioner(Component):
    """Base of every partitioner. Call ``partition``, which checks what goes in and what comes out of ``split``."""

    needs_labels: ClassVar[bool] = False
    """Whether the scheme means nothing on images of a single class."""

    examples_per_client: int = Field(
        0,
        ge=0,
        description="at most so many examples a client, drawn uniformly from its part; 0: its whole part",
    )

    @property
    def splits_by_source(self) -> bool:
        """Whether it goes by the source of each example: sources then stand where labels are spoken of."""
        return False

    @abstractmethod
    def split(self, labels: Indices, num_clients: int, generator: np.random.Generator) -> Sequence[Indices]:
        """Returns the images of each client.

        Args:
            labels: (N,) int64, the class of each image.
            num_clients: At least 1, at most N.
            generator: The only source of chance.

        Returns:
            For each client the indices of its images, int64, in any order. None is empty, and together they hold each
            of 0 .. N - 1 once.

        Raises:
            ConfigError: A split that these options do not allow.
        """

    def deal(self, labels: Indices, num_clients: int, seed: int) -> Sequence[Indices]:
        """Returns the images of each client before ``examples_per_client`` caps them: ``split``, checked.

        Raises:
            ConfigError: See ``split``.
            RuntimeError: ``split`` breaks its contract.
        """
        parts = self.split(labels, num_clients, numpy_generator(seed, "partition"))
        _check(self.component_name(), parts, len(labels), num_clients)
        return parts

    def parts_with_folds(self, labels: Indices, num_clients: int, seed: int) -> list[Indices]:
        """Returns whose examples are divided into folds each by itself: those of each client, capped, sorted.

        Args:
            labels: See ``partition``.
            num_clients: Likewise.
            seed: The run's.
        """
        return partition(self, labels, num_clients, seed)


def partition(partitioner: Partitioner, labels: Indices, num_clients: int, seed: int) -> list[Indices]:
    """Returns the images of each client, the same for the same arguments.

    Args:
        partitioner: The scheme; its ``examples_per_client`` caps each part after the split.
        labels: (N,) int64, the class of each image.
        num_clients: How many clients share them.
        seed: The run's seed.

    Returns:
        ``num_clients`` sorted int64 arrays, disjoint and not empty; together all of 0 .. N - 1 if there is no cap
        (nor one in a split that ``partitioner`` pools).

    Raises:
        ConfigError: Fewer images than clients, a scheme by label for images of a single class, or a split that the
            partitioner's options do not allow.
        RuntimeError: A partitioner that breaks its contract.
    """
    name = partitioner.component_name()
    if not 1 <= num_clients <= len(labels):
        held = "1 example" if len(labels) == 1 else f"{len(labels)} examples"
        fewer = " or fewer" if len(labels) > 1 else ""
        raise ConfigError(
            f"{held} cannot be shared by {num_clients} clients; each needs at least one: set"
            f" federation.num-clients={len(labels)}{fewer}"
        )
    if partitioner.needs_labels and len(np.unique(labels)) < 2:
        raise ConfigError(
            f"partition={name!r} splits by label, but all examples have the same one; take"
            ' partition="iid" or "quantity"'
        )
    parts = partitioner.deal(labels, num_clients, seed)
    cap = partitioner.examples_per_client
    if cap:
        parts = [
            part
            if len(part) <= cap
            else numpy_generator(seed, "partition", "images-per-client", client).choice(part, cap, replace=False)
            for client, part in enumerate(parts)
        ]
    return [np.sort(part) for part in parts]


def _check(name: str, parts: Sequence[Indices], num_images: int, num_clients: int) -> None:
    """Raises RuntimeError unless the parts are what ``Partitioner.split`` promises."""
    if len(parts) != num_clients or any(len(part) == 0 for part in parts):
        raise RuntimeError(
            f"partitioner {name!r} made {[len(part) for part in parts]} images for {num_clients} clients"
        )
    together = np.sort(np.concatenate(parts))
    if together.dtype != np.int64 or not np.array_equal(together, np.arange(num_images)):
        raise RuntimeError(f"partitioner {name!r} does not hand out each of {num_images} images once")
