"""Ways to share out a data set, one a file. ``PARTITIONERS`` is what ``partition`` may say."""

from common.partitioners.base import Indices, Partitioner, partition
from common.partitioners.by_source import BySource
from common.partitioners.classes import Classes
from common.partitioners.dirichlet import Dirichlet
from common.partitioners.drop_classes import DropClasses
from common.partitioners.iid import Iid
from common.partitioners.pooled import Pooled
from common.partitioners.quantity import Quantity
from common.partitioners.shards import Shards

PARTITIONERS: dict[str, type[Partitioner]] = {
    "iid": Iid,
    "dirichlet": Dirichlet,
    "shards": Shards,
    "classes": Classes,
    "drop-classes": DropClasses,
    "quantity": Quantity,
    "by-source": BySource,
    "pooled": Pooled,
}

__all__ = ["PARTITIONERS", "Indices", "Partitioner", "partition"]
