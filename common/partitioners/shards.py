"""Label skew: the images sorted by label, cut into shards, a few shards a client."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from common.errors import ConfigError
from common.partitioners.base import Indices, Partitioner


class Shards(Partitioner):
    """Cuts the images, sorted by label, into ``num_clients * per_client`` shards, and deals these at random.

    Shards differ by one image at most, so that every image is used.
    """

    source: ClassVar[str] = "McMahan et al. 2017, arXiv:1602.05629, section 3 (non-IID)"
    needs_labels: ClassVar[bool] = True

    per_client: int = Field(2, ge=1, description="shards a client")

    def split(self, labels: Indices, num_clients: int, generator: np.random.Generator) -> Sequence[Indices]:
        """Returns the images of each client; see ``Partitioner.split``."""
        num_shards = num_clients * self.per_client
        if num_shards > len(labels):
            most = len(labels) // self.per_client
            fewer = f"federation.num-clients={most} or fewer, or " if most else ""
            raise ConfigError(
                f"partition='shards per-client={self.per_client}': {num_clients} clients make {num_shards} shards of"
                f' only {len(labels)} examples; set {fewer}partition="iid"'
            )
        shards = np.array_split(np.argsort(labels, kind="stable"), num_shards)
        dealt = generator.permutation(num_shards).reshape(num_clients, self.per_client)
        return [np.concatenate([shards[shard] for shard in hand]) for hand in dealt]
