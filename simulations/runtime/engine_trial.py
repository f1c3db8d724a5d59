"""A short trial of the two ways to train a cohort: one client after another, and all together."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from client.batched.group import StackedWeights
from client.batched.stacked_trainer import Request
from client.batches import Assignment
from client.trainer import Trainer
from client.trainer_spec import TrainerSpec
from common.config import RunConfig
from common.datasets.base import Dataset
from common.examples import ExampleSet
from common.privacy.accounting import Mechanism
from common.privacy.plan import PrivacyPlan

SEATS_ON_CPU = 8
"""Clients that are trained together there: more gain little, and a cohort should fill several cores."""

_BATCHES = 4  # of each client
_MOST_SEATS = 64
_SHARE_OF_MEMORY = 0.5  # of what is free on a GPU


@dataclass(frozen=True)
class Comparison:
    """How long clients take in the loop and together.

    Attributes:
        loop_seconds: A client-step in the loop, the shortest of the repeats.
        batched_seconds: Likewise in a batch.
        ratios: Of the two in every repeat, above 1 where the batch is faster.
    """

    loop_seconds: float
    batched_seconds: float
    ratios: tuple[float, ...]


def compare(
    config: RunConfig,
    data: Dataset,
    *,
    num_clients: int,
    num_rows: int = SEATS_ON_CPU,
    steps: int = 2,
    repeats: int = 3,
    device: torch.device | None = None,
) -> Comparison:
    """Returns how long a cohort takes to train by the loop and by the batch, on one core, examples and all.

    Args:
        config: Gives networks, objective and batch size.
        data: Of which every client has a few.
        num_clients: Clients that train, at most ``num_rows`` at a time.
        num_rows: See above.
        steps: Local steps.
        repeats: How often both are timed, in turns, after one time that does not count.
        device: Where to train; None: on the CPU.
    """
    device = device or torch.device("cpu")
    spec, examples, plan = _spec(config, data, device, steps), _few(config, data), _plan(config)
    trainer, stacked = Trainer(spec), StackedWeights(num_rows, spec)
    members = [stacked.member(number, lambda member, request: {}) for number in range(num_rows)]

    def begin(trainer: Trainer, partition: int) -> None:
        trainer.assign(Assignment(examples, config.seed, partition, 1, plan=plan), None)
        trainer.load(trainer.initial())

    def loop() -> None:
        for k in range(num_clients):
            begin(trainer, k)
            trainer.fit()

    def batch() -> None:
        for start in range(0, num_clients, num_rows):
            group = members[: num_clients - start]
            for member in group:
                begin(member, start + member.number)
            for result in stacked.fit(group, [Request()] * len(group)):
                if isinstance(result, Exception):
                    raise result

    def timed(run: Callable[[], None]) -> float:
        start = time.perf_counter()
        run()
        return (time.perf_counter() - start) / (num_clients * steps)

    times = [(timed(loop), timed(batch)) for _ in range(repeats + 1)][1:]
    loops, batches = zip(*times, strict=True)
    return Comparison(min(loops), min(batches), tuple(one / other for one, other in times))


def clients_that_fit(config: RunConfig, data: Dataset, device: torch.device) -> int:
    """Returns how many clients can be trained together: on a GPU what a step of one of them leaves room for."""
    if device.type != "cuda":
        return SEATS_ON_CPU
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    trainer = Trainer(_spec(config, data, device, steps=1))
    trainer.assign(Assignment(_few(config, data), config.seed, 0, 1, plan=_plan(config)), None)
    trainer.fit()
    each = torch.cuda.max_memory_allocated(device) - before
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(_MOST_SEATS, int(_SHARE_OF_MEMORY * free / max(1, each))))


def _spec(config: RunConfig, data: Dataset, device: torch.device, steps: int) -> TrainerSpec:
    """Returns the trainer of a run, with another number of steps."""
    spec = TrainerSpec.of(config, data.spec, device)
    return replace(spec, local=spec.local.model_copy(update={"steps": steps}))


def _few(config: RunConfig, data: Dataset) -> ExampleSet:
    """Returns examples of some batches, from all over the training data; some of them again where it has fewer."""
    promise = config.promise_of_examples
    num = _BATCHES * ((promise and promise.batch_size) or config.local.batch_size)
    return data.train.subset(np.arange(num) * len(data.train) // num)


def _plan(config: RunConfig) -> PrivacyPlan | None:
    """Returns what has private steps take as long as those of the run; of no promise, as nothing is sent anywhere."""
    promise = config.promise_of_examples
    if promise is None:
        return None
    return PrivacyPlan(Mechanism(1.0, 1.0 / _BATCHES), sys.maxsize, promise.clip, promise.delta)
