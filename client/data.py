"""A client's private shard: its partition of a data set that is split over the simulated clients."""

import functools
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.config import DataConfig, RunConfig
from common.datasets.base import Dataset, ImageSet
from common.errors import ConfigError
from common.partitioners import partition

_LOCK = threading.Lock()


def partition_id(node_config: Mapping[str, object]) -> tuple[int, int]:
    """Returns the partition id of this node and the number of partitions, from Flower's node configuration.

    Raises:
        ConfigError: The node configuration names none.
    """
    values = node_config.get("partition-id"), node_config.get("num-partitions")
    if not all(isinstance(value, int) for value in values):
        raise ConfigError(
            f"node configuration {dict(node_config)!r}: start the SuperNode with "
            '--node-config "partition-id=K num-partitions=N", 0 <= K < N'
        )
    return int(str(values[0])), int(str(values[1]))


def shard(config: RunConfig, partition: int) -> tuple[ImageSet, Dataset]:
    """Returns the images of one partition, and the data set they are from.

    Raises:
        ConfigError: There is no such partition, or the data cannot be split as asked.
        DataError: The data set cannot be read.
    """
    num_clients = config.federation.num_clients
    if not 0 <= partition < num_clients:
        raise ConfigError(f"partition-id={partition}: federation.num-clients={num_clients} has 0 to {num_clients - 1}")
    with _LOCK:  # clients in threads share one copy
        data = load(config.data)
        return data.train.subset(split(config)[partition]), data


@functools.lru_cache(maxsize=2)
def load(config: DataConfig) -> Dataset:
    """Returns the whole data set; kept in memory, as one process may serve many clients."""
    source = RunConfig(data=config).source
    return source.load(Path(config.root).expanduser(), image_size=config.image_size)


def split(config: RunConfig) -> list[NDArray[np.int64]]:
    """Returns the indices of each client's images: a function of data, partition, number of clients and seed."""
    return _split(config.data, config.partition, config.federation.num_clients, config.seed)


@functools.lru_cache(maxsize=2)
def _split(data: DataConfig, spec: str, num_clients: int, seed: int) -> list[NDArray[np.int64]]:
    partitioner = RunConfig(partition=spec).partitioner
    return partition(partitioner, load(data).train.labels.numpy(), num_clients, seed)
