"""The images that several clients of another split would hold, pooled: the centralised counterpart of a federation."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import AfterValidator, Field

from common import components
from common.errors import ConfigError
from common.partitioners.base import Indices, Partitioner, partition


def _inner(text: str) -> Partitioner:
    from common.partitioners import PARTITIONERS  # the table lists this very file

    return components.parse("partition", PARTITIONERS, text)


class Pooled(Partitioner):
    """Gives each client all images of several clients of the split ``of``, under the same seed the very same images.

    With ``federation.num-clients=1`` that is one client who holds what the ``clients`` of a federation would hold
    together, caps included. With more, the inner clients go to them in order, as evenly as they go.
    """

    source: ClassVar[str] = "the centralised baseline on the images of a federation"

    of: Annotated[str, AfterValidator(lambda text: _inner(text).spec())] = Field(
        "iid", description="the split that is pooled, with its options, in quotes"
    )
    clients: int = Field(0, ge=0, description="clients of that split; 0: as many as the federation has")

    @property
    def splits_by_source(self) -> bool:
        return _inner(self.of).splits_by_source

    def split(self, labels: Indices, num_clients: int, generator: np.random.Generator) -> Sequence[Indices]:
        """Returns the images of each client, without the inner split's cap; see ``Partitioner.split``."""
        inner = self._num_inner(num_clients)
        return _pool(_inner(self.of).split(labels, inner, generator), num_clients)

    def deal(self, labels: Indices, num_clients: int, seed: int) -> Sequence[Indices]:
        return _pool(partition(_inner(self.of), labels, self._num_inner(num_clients), seed), num_clients)

    def parts_with_folds(self, labels: Indices, num_clients: int, seed: int) -> list[Indices]:
        return _inner(self.of).parts_with_folds(labels, self._num_inner(num_clients), seed)

    def _num_inner(self, num_clients: int) -> int:
        inner = self.clients or num_clients
        if inner < num_clients:
            raise ConfigError(
                f"partition='pooled clients={inner}': what {inner} clients hold cannot be pooled by {num_clients}; "
                "use a smaller federation.num-clients, 1 for a centralised run"
            )
        return inner


def _pool(parts: Sequence[Indices], num_clients: int) -> list[Indices]:
    groups = np.array_split(np.arange(len(parts)), num_clients)
    return [np.concatenate([parts[k] for k in group]) for group in groups]
