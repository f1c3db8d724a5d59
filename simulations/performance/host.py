"""What the host does for a client's step while a cohort trains as one computation."""

import functools
import time
from collections.abc import Callable

import numpy as np
import torch

from client.batched.group import StackedWeights
from client.batched.stacked_trainer import Request
from client.batches import Assignment
from client.data import load
from client.trainer import Trainer
from client.trainer_spec import TrainerSpec
from common.config import Scalar
from simulations.performance.figures import Figure, Measured, Plan, in_turn
from simulations.performance.loops import PLAIN

NUM_CLIENTS = 50
_STEPS = 20


def host(plan: Plan) -> Measured:
    """Time of the CPU for a step of one of fifty clients, with networks so small that their arithmetic is nothing.

    Rounds of twenty steps, batches of one, on the CPU, where Python takes every step, for all clients at once; and, as
    where steps are replayed from CUDA graphs, without the steps: what all draw, what is moved, what losses are. Seconds
    are those of the thread, not of the clock.
    """
    num, steps = (3, 2) if plan.quick else (NUM_CLIENTS, _STEPS)
    tiny: dict[str, Scalar] = {"model": "mlp width=1 latent-size=1", "local.steps": steps, "local.batch-size": 1}
    config = PLAIN.replaced(tiny)
    data = load(config.data)
    spec = TrainerSpec.of(config, data.spec, torch.device("cpu"))
    trainer = Trainer(spec)
    plain, replaying = (_Cohort(spec, num) for _ in range(2))
    replaying.stacked._graphs.record = lambda compute: lambda: None
    shards = [data.train.view(np.arange(k, len(data.train), num)) for k in range(num)]

    def begin(one: Trainer, k: int) -> None:
        one.assign(Assignment(shards[k], config.seed, k, 1), None)
        one.load(one.initial())

    def together(cohort: _Cohort) -> float:
        for k, member in enumerate(cohort.members):
            begin(member, k)
        return _seconds(cohort.fit) / (num * steps)

    def alone() -> float:
        begin(trainer, 0)
        return _seconds(trainer.fit) / steps

    sides = functools.partial(together, plain), alone, functools.partial(together, replaying)
    for side in sides:
        side()
    rows = in_turn(plan.times, *sides)
    what = f"a step of one of {num} clients as one computation"
    yield Figure(key=f"us-{NUM_CLIENTS}", what=what, values=tuple(row[0] * 1e6 for row in rows), unit="us")
    what = "the same where steps are replayed: without them"
    yield Figure(key=f"us-{NUM_CLIENTS}-replayed", what=what, values=tuple(row[2] * 1e6 for row in rows), unit="us")
    yield Figure(key="us-loop", what="a step in the loop", values=tuple(row[1] * 1e6 for row in rows), unit="us")
    what = "a step in the loop over one of the clients as one computation"
    yield Figure(key="gain", what=what, values=tuple(row[1] / row[0] for row in rows))


class _Cohort:
    """Clients that train as one computation."""

    def __init__(self, spec: TrainerSpec, num: int) -> None:
        self.stacked = StackedWeights(num, spec)
        self.members = [self.stacked.member(k, lambda member, request: {}) for k in range(num)]

    def fit(self) -> None:
        """Trains all of them for a round."""
        for result in self.stacked.fit(self.members, [Request()] * len(self.members)):
            if isinstance(result, Exception):
                raise result


def _seconds(call: Callable[[], object]) -> float:
    start = time.thread_time()
    call()
    return time.thread_time() - start
