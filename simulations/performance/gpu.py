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
from simulations.performance.gpu_profile import profiled, shares
from simulations.performance.loops import PLAIN, Work

COHORTS = (1, 10, 50, 200)
_EVERY_WAY = (10, 50)
MOST_BY_THEMSELVES = 50
"""Clients of the largest cohort that the loop trains too: what a step takes there does not depend on their number."""

WAYS = {
    "loop": ("threads", False, True),
    "batched": ("batched", False, True),
    "batched-no-graph": ("batched", False, False),
    "batched-bf16": ("batched", True, True),
}
"""By name: the engine, mixed precision, and whether the step is recorded as a CUDA graph."""


def gpu(plan: Plan) -> Measured:
    """Rounds of twenty steps of 32 on a GPU, clients by themselves against clients as one computation.

    0.3 M parameters. By themselves clients have a thread a core; together they have one. Then fifty clients against one
    network on batches as large as all of theirs, and where the GPU's time goes.
    """
    if not torch.cuda.is_available():
        yield Skipped(what="all", why="there is no CUDA device")
        return
    torch.backends.cuda.matmul.allow_tf32 = True  # as where clients train
    yield from cohorts(plan, COHORTS[:2] if plan.quick else COHORTS)
    yield from against_one(plan)
    yield from profile(plan)


def against_one(plan: Plan) -> Measured:
    """Measures fifty clients against one network that is trained on batches of all their examples."""
    clients, steps = (2, 2) if plan.quick else (50, 20)
    config = PLAIN.replaced({"partition": "iid", "local.steps": steps, "federation.num-clients": clients})
    size = clients * config.local.batch_size
    one = config.replaced({"federation.num-clients": 1, "local.batch-size": size})
    with ExitStack() as stack:
        federations = [stack.enter_context(_started(each, *WAYS["batched"])) for each in (config, one)]
        rows = in_turn(plan.times, *(federation.round for federation in federations))
    what = f"images a second, one network on batches of {size}"
    yield Figure(key="one-images", what=what, values=tuple(size * steps / row[1] for row in rows), unit="1/s")
    what = f"images a second of {clients} clients over those of one network on batches of {size}"
    yield Figure(key="over-one", what=what, values=tuple(row[1] / row[0] for row in rows))


def profile(plan: Plan) -> Measured:
    """Measures where the time of rounds of fifty clients goes, by torch's profiler, which slows the host a little."""
    clients, steps = (2, 2) if plan.quick else (50, 20)
    config = PLAIN.replaced({"partition": "iid", "local.steps": steps, "federation.num-clients": clients})
    with _started(config, *WAYS["batched"]) as federation:
        found = [profiled(federation.round) for _ in range(plan.times)]
    parts = [shares(kernels) for kernels, _ in found]
    if not all(parts):
        yield Skipped(what="profile", why="torch's profiler saw no kernels")
        return
    for kind in parts[0]:
        values = tuple(100 * part[kind] for part in parts)
        key = f"profile-{kind.replace(' ', '-')}"
        yield Figure(key=key, what=f"of a round of {clients} clients, {kind}", values=values, unit="%")
    values = tuple(launches / steps for _, launches in found)
    yield Figure(
        key="profile-launches", what=f"launches for a step of {clients} clients", values=values, unit="launches"
    )


def cohorts(plan: Plan, sizes: tuple[int, ...]) -> Measured:
    """Measures rounds of so many clients in every way, on the device that clients choose by themselves."""
    steps = 2 if plan.quick else 20
    flops = step_flops(PLAIN)
    peaks = {mixed: _peak(torch.bfloat16 if mixed else torch.float32) for mixed in (False, True)}
    for size in sizes:
        config = PLAIN.replaced({"partition": "iid", "federation.num-clients": size, "local.steps": steps})
        names = WAYS if size in _EVERY_WAY else ("loop", "batched") if size <= MOST_BY_THEMSELVES else ("batched",)
        ways = {name: WAYS[name] for name in names}
        with ExitStack() as stack:
            federations = [stack.enter_context(_started(config, *way)) for way in ways.values()]
            rows = in_turn(plan.times, *(federation.round for federation in federations))
        num_steps, images = size * steps, size * steps * config.local.batch_size
        for side, (name, (_, mixed, _)) in enumerate(ways.items()):
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
            if name != "loop" and "loop" in ways:
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
