"""The mean of a round's replies, against what it has to read."""

import functools

import torch
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords
from torch import Tensor

from common.algorithms import Reply
from common.config import RunConfig, Scalar
from common.examples import ImageSpec
from common.seeding import torch_generator
from common.tree import FrozenTree, Tree, clone
from server.clients import admission
from simulations.performance.child import measure
from simulations.performance.figures import Figure, Measured, Plan, clock, in_turn
from simulations.performance.loops import PLAIN

_WIDTH = 48  # 1,662,453 parameters
_SECONDS = 0.5  # of one value, filled with repetitions


def aggregation(plan: Plan) -> Measured:
    """The mean of 100 replies of 1.7 M parameters with one thread, against what has to be read; and memory."""
    num, width = (3, 8) if plan.quick else (100, _WIDTH)
    config = PLAIN.replaced({"model": f"dcgan width={width}", "federation.num-clients": num})
    origin = config.model_component.build(ImageSpec(1, 28, 10), 0).state_dict()
    model_bytes = sum(value.nbytes for value in origin.values())
    rows = _timed(plan, config, origin, num)
    megabytes = num * model_bytes / 1e6
    yield Figure(key="ms", what=f"the mean of {num} replies, {megabytes:,.0f} MB", values=_column(rows, 0), unit="ms")
    yield Figure(key="sum-ms", what="a running torch sum", values=_column(rows, 1), unit="ms")
    yield Figure(key="read-ms", what="reading the same bytes once", values=_column(rows, 2), unit="ms")
    yield Figure(key="flower-ms", what="stock Flower's mean", values=_column(rows, 3), unit="ms")
    yield Figure(key="norms-ms", what="norms of the updates, for admission", values=_column(rows, 4), unit="ms")
    yield Figure(key="over-sum", what="the mean over a running torch sum", values=_ratio(rows, 0, 1))
    yield Figure(key="over-read", what="the mean over reading the same bytes once", values=_ratio(rows, 0, 2))
    yield Figure(key="flower", what="stock Flower's mean over ours", values=_ratio(rows, 3, 0))
    yield from _memory(plan, num, width, model_bytes)


def _timed(plan: Plan, config: RunConfig, origin: dict[str, Tensor], num: int) -> list[tuple[float, ...]]:
    """Returns seconds of our mean, a running sum, reading, stock Flower's mean, and norms, by repeat."""
    replies = [_reply(origin, partition) for partition in range(num)]
    trees, weights = [reply.arrays for reply in replies], [float(reply.num_examples) for reply in replies]
    vectors = [torch.cat([value.reshape(-1) for value in tree.values()]) for tree in trees]
    records = [RecordDict({"arrays": _stock(tree), "metrics": MetricRecord({"w": 1.0})}) for tree in trees]

    def ours() -> object:
        return config.aggregator.combine(trees, weights, origin)

    def running() -> object:
        total = torch.zeros_like(vectors[0])
        for vector, weight in zip(vectors, weights, strict=True):
            total.add_(vector, alpha=weight)
        return total.div_(sum(weights))

    def reading() -> object:
        return [vector.sum() for vector in vectors]

    def flower() -> object:
        return aggregate_arrayrecords(records, "w")

    start = FrozenTree(clone(origin))
    origins = {reply.partition: [start] for reply in replies}

    def norms() -> object:
        return admission.outliers({reply.partition: reply for reply in replies}, origins, origin.keys(), 3.0)

    at_least = 0.0 if plan.quick else _SECONDS
    return in_turn(
        plan.times, *(functools.partial(clock, call, at_least) for call in (ours, running, reading, flower, norms))
    )


def _memory(plan: Plan, num: int, width: int, model_bytes: int) -> Measured:
    """By how many models the peak of a process grows with the clients of a round, over a round of two."""
    in_memory, on_disk, slower = [], [], []
    for _ in range(plan.times):
        few, many = (measure(_config(width, num, cohort), 1, 3) for cohort in (2, num))
        least = {"federation.reply-megabytes": 1}
        shelved = measure(_config(width, num, num) | least, 1, 3)
        in_memory.append((many["peak"] - few["peak"]) / model_bytes - (num - 2))
        on_disk.append((shelved["anonymous"] - few["anonymous"]) / model_bytes)
        slower.append(min(shelved["rounds"][1:]) / min(many["rounds"][1:]))
    what = f"peak memory of a process with {num} clients in a round over one with 2, beyond the replies themselves"
    yield Figure(key="extra-models", what=what, values=tuple(in_memory), unit="models")
    what = "the same with replies on disk (federation.reply-megabytes=1), without mapped files, replies and all"
    yield Figure(key="shelved-models", what=what, values=tuple(on_disk), unit="models")
    yield Figure(
        key="shelved-time", what="a round of 1 step with replies on disk over one in memory", values=tuple(slower)
    )


def _config(width: int, clients: int, cohort: int) -> dict[str, Scalar]:
    return {
        "model": f"dcgan width={width}",
        "partition": "iid",
        "federation.num-clients": clients,
        "federation.fraction": cohort / clients,
        "local.steps": 1,
        "local.batch-size": 4,
        "output.checkpoint-every": 1000,
    }


def _reply(origin: dict[str, Tensor], partition: int) -> Reply:
    random = torch_generator(0, "benchmark", "reply", partition)
    moved = {key: value + 0.01 * torch.randn(value.shape, generator=random) for key, value in sorted(origin.items())}
    return Reply(partition=partition, num_examples=100 + partition, arrays=FrozenTree(clone(moved)), metrics={})


def _stock(tree: Tree) -> ArrayRecord:
    return ArrayRecord({key: Array.from_torch_tensor(value) for key, value in tree.items()})


def _column(rows: list[tuple[float, ...]], side: int) -> tuple[float, ...]:
    return tuple(row[side] * 1e3 for row in rows)


def _ratio(rows: list[tuple[float, ...]], side: int, other: int) -> tuple[float, ...]:
    return tuple(row[side] / row[other] for row in rows)
