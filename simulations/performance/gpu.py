"""Cohorts on a GPU: clients by themselves against clients as one computation."""

from contextlib import ExitStack
from unittest import mock

import torch
from torch.utils.flop_counter import FlopCounterMode

import client.batched.group
from client.data import load
from common.config import RunConfig
from common.threads import available_cores
from simulations.performance.federation import Federation
from simulations.performance.figures import Figure, Measured, Plan, Skipped, clock, in_turn
from simulations.performance.loops import Work

COHORTS = (1, 10, 50, 200)

WAYS = {
    "loop": ("threads", False, True),
    "batched": ("batched", False, True),
    "batched-no-graph": ("batched", False, False),
    "batched-bf16": ("batched", True, True),
}
"""By name: the engine, mixed precision, and whether the step is recorded as a CUDA graph."""


def gpu(plan: Plan) -> Measured:
    """Rounds of twenty steps of 32 on a GPU, clients by themselves against clients as one computation.

    0.3 M parameters. By themselves clients have a thread a core; together they have one.
    """
    if not torch.cuda.is_available():
        yield Skipped(what="all", why="there is no CUDA device")
        return
    yield from cohorts(plan, COHORTS[:2] if plan.quick else COHORTS)


def cohorts(plan: Plan, sizes: tuple[int, ...]) -> Measured:
    """Measures rounds of so many clients in every way, on the device that clients choose by themselves."""
    steps = 2 if plan.quick else 20
    flops = step_flops(RunConfig())
    peaks = {mixed: _peak(torch.bfloat16 if mixed else torch.float32) for mixed in (False, True)}
    for size in sizes:
        config = RunConfig().replaced({"partition": "iid", "federation.num-clients": size, "local.steps": steps})
        with ExitStack() as stack:
            federations = [stack.enter_context(_started(config, *way)) for way in WAYS.values()]
            rows = in_turn(plan.times, *(federation.round for federation in federations))
        num_steps, images = size * steps, size * steps * config.local.batch_size
        for side, (name, (_, mixed, _)) in enumerate(WAYS.items()):
            seconds = [row[side] for row in rows]
            what = f"{size} clients, {name}"
            key = f"{name}-{size}"
            values = tuple(images / s for s in seconds)
            yield Figure(key=f"{key}-images", what=f"images a second, {what}", values=values, unit="1/s")
            values = tuple(s / num_steps * 1e3 for s in seconds)
            yield Figure(key=f"{key}-ms", what=f"a client-step, {what}", values=values, unit="ms")
            values = tuple(100 * flops * num_steps / s / peaks[mixed] for s in seconds)
            yield Figure(
                key=f"{key}-peak", what=f"share of the device's own matrix product, {what}", values=values, unit="%"
            )
            if side:
                values = tuple(row[0] / row[side] for row in rows)
                yield Figure(key=key, what=f"speed of {name} over the loop, {size} clients", values=values)


def _started(config: RunConfig, engine: str, mixed: bool, graph: bool) -> Federation:
    """Returns a federation after two rounds: the second one records the step, where it is recorded."""
    with ExitStack() as stack:
        if not graph:
            stack.enter_context(mock.patch.object(client.batched.group, "cuda_graph", None))
        federation = Federation(config.replaced({"local.mixed-precision": mixed}), available_cores(), engine)
        federation.round()
    return federation


def step_flops(config: RunConfig) -> int:
    """Returns the floating-point operations of one step of one client, as torch counts them."""
    networks = config.model_component.build(load(config.data).spec, config.seed).train()
    work = Work(config, networks, None, "flops", fused=False)
    batch = work.batch()
    with FlopCounterMode(display=False) as counter:
        work.step(batch)
    return int(counter.get_total_flops())


def _peak(dtype: torch.dtype, side: int = 8192) -> float:
    """Returns the operations a second of a large matrix product, which few computations come near."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    side = side if device == "cuda" else 256
    one = torch.ones(side, side, dtype=dtype, device=device)

    def product() -> None:
        for _ in range(10):
            torch.matmul(one, one)
        if device == "cuda":
            torch.cuda.synchronize()

    product()
    return 20 * side**3 / min(clock(product) for _ in range(3))
