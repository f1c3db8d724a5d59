"""Ways beyond the eager step on the CPU: what each gains, what it costs first, and whether it computes the same."""

import contextlib
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import nn

from client.batches import Assignment
from client.data import load
from client.trainer import Trainer
from client.trainer_spec import TrainerSpec
from common.config import RunConfig
from simulations.performance.federation import Federation
from simulations.performance.figures import Figure, Measured, Plan, Skipped, in_turn
from simulations.performance.loops import PLAIN, HandWritten, Work

_NUM_STEPS = 20

Change = Callable[[nn.ModuleDict], AbstractContextManager[object]]


def step(plan: Plan) -> Measured:
    """Ways beyond the eager step of a hand-written loop, on one thread, twenty steps of the quickstart's networks.

    0.3 M parameters. A way is of use at 1.25 times the eager speed, with the same gradients up to rounding.
    """
    for size in (4,) if plan.quick else (32, 64):
        config = PLAIN.replaced({"local.batch-size": size, "local.steps": 2 if plan.quick else _NUM_STEPS})
        yield from _ways(plan, config)


def _ways(plan: Plan, config: RunConfig) -> Measured:
    size, steps = config.local.batch_size, config.local.steps
    compiles = shutil.which("g++") or shutil.which("clang++")
    changes: dict[str, Change] = {"joint": _none, "channels-last": _channels_last, "bf16": _bf16}
    if plan.quick or not compiles:
        yield Skipped(what="torch.compile", why="it takes a minute" if compiles else "there is no C++ compiler")
    else:
        changes |= {"compile": _compile, "compile-channels-last": _compile_channels_last}
    eager = _Way(config, _none)
    ways = {name: _Way(config, change, name == "joint") for name, change in changes.items()}
    ours = _Ours(config)
    for way in (eager, *ways.values()):
        way.warm()
    ours.run()
    rows = in_turn(
        plan.times, lambda: eager.run(steps), *(lambda w=way: w.run(steps) for way in ways.values()), ours.run
    )
    yield Figure(key=f"eager-{size}", what=f"an eager step of {size}", values=_milliseconds(rows, 0, steps), unit="ms")
    for side, (name, way) in enumerate(ways.items(), start=1):
        what = f"speed of {name} over eager, batch {size}"
        yield Figure(key=f"{name}-{size}", what=what, values=tuple(row[0] / row[side] for row in rows))
        difference = _difference(_Way(config, _none), _Way(config, changes[name], name == "joint"))
        what = f"distance of {name}'s gradients from eager ones, over their norm"
        yield Figure(key=f"{name}-{size}-difference", what=what, values=(difference,))
        if name.startswith("compile"):
            yield Figure(
                key=f"{name}-{size}-first", what="its first step, with compilation", values=(way.first,), unit="s"
            )
    yield from _batched(plan, config)
    what = f"share of convolutions in the time of a step of fedgan's, batch {size}"
    yield Figure(key=f"convolutions-{size}", what=what, values=tuple(ours.convolutions() for _ in range(plan.times)))
    last = len(ways) + 1
    what = f"speed of fedgan's own step (trainer) over eager, batch {size}"
    yield Figure(key=f"ours-{size}", what=what, values=tuple(row[0] / row[last] for row in rows))
    best = tuple(row[0] / min(row[1:]) for row in rows)
    yield Figure(key=f"best-{size}", what=f"the fastest of these over eager, batch {size}", values=best)


def _batched(plan: Plan, config: RunConfig) -> Measured:
    """Ten clients as one computation, rounds with all that belongs to them, against the loop of one thread."""
    clients = 2 if plan.quick else 10
    config = config.replaced({"federation.num-clients": clients})
    loop = HandWritten(config, 1)
    loop.run(2)
    with Federation(config, 1, engine="batched") as federation:
        federation.round()
        pairs = in_turn(plan.times, federation.round, lambda: loop.run(clients * config.local.steps))
    size = config.local.batch_size
    what = f"speed of {clients} clients as one computation (--engine batched) over eager, batch {size}"
    yield Figure(key=f"batched-{size}", what=what, values=tuple(hand / ours for ours, hand in pairs))


class _Way:
    """The hand-written step with one change; ``joint``: the discriminator sees real and fake images as one batch."""

    def __init__(self, config: RunConfig, change: Change, joint: bool = False) -> None:
        networks = config.model_component.build(load(config.data).spec, config.seed).train()
        self._context = change(networks)
        self._networks = networks
        self._work = Work(config, networks, None, "step", joint=joint)
        self.first = 0.0

    def warm(self) -> None:
        start = time.perf_counter()
        self.run(1)
        self.first = time.perf_counter() - start
        self.run(2)

    def run(self, num_steps: int) -> float:
        """Takes steps and returns their wall seconds."""
        start = time.perf_counter()
        for _ in range(num_steps):
            batch = self._work.batch()
            with self._context:
                self._work.step(batch)
        return time.perf_counter() - start

    def gradients(self) -> torch.Tensor:
        """Returns those of the last discriminator step, before which both ways have the same weights."""
        return torch.cat(
            [p.grad.reshape(-1) for p in self._networks["discriminator"].parameters() if p.grad is not None]
        )


class _Ours:
    """The project's own trainer on the same images."""

    def __init__(self, config: RunConfig) -> None:
        data = load(config.data)
        self._trainer = Trainer(TrainerSpec.of(config, data.spec, torch.device("cpu")))
        self._images = data.train

    def run(self) -> float:
        self._trainer.assign(Assignment(self._images, 0, 0, 1), None)
        return self._trainer.fit()["seconds"]

    def convolutions(self) -> float:
        """Returns the share of convolutions, forth and back, in the time of all operations, by torch's profiler."""
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            self.run()
        spent = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
        return float(sum(time for name, time in spent.items() if "convolution" in name) / sum(spent.values()))


def _difference(eager: _Way, other: _Way) -> float:
    """Returns how far the gradients of one step are from eager ones, over their norm.

    Weights would tell less: Adam's first step is as long whatever the gradient, so rounding turns entries around.
    """
    for way in (eager, other):
        way.run(1)
    return float((eager.gradients() - other.gradients()).norm() / eager.gradients().norm())


def _milliseconds(rows: list[tuple[float, ...]], side: int, steps: int) -> tuple[float, ...]:
    return tuple(row[side] / steps * 1e3 for row in rows)


def _none(networks: nn.ModuleDict) -> AbstractContextManager[object]:
    return contextlib.nullcontext()


def _channels_last(networks: nn.ModuleDict) -> AbstractContextManager[object]:
    networks.to(memory_format=torch.channels_last)
    return contextlib.nullcontext()


def _bf16(networks: nn.ModuleDict) -> AbstractContextManager[object]:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def _compile(networks: nn.ModuleDict) -> AbstractContextManager[object]:
    torch._dynamo.config.recompile_limit = 100  # of a method, whichever object has it: else later ways would be eager
    for network in networks.values():
        network.compile()  # in place: the same parameters
    return contextlib.nullcontext()


def _compile_channels_last(networks: nn.ModuleDict) -> AbstractContextManager[object]:
    _channels_last(networks)
    return _compile(networks)
