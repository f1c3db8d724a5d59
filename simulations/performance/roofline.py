"""How much of the arithmetic's speed a federation has."""

from common.config import RunConfig
from common.threads import available_cores
from simulations.performance.federation import Federation
from simulations.performance.figures import Figure, Measured, Plan, Skipped, in_turn
from simulations.performance.loops import PLAIN, HandWritten

WIDTHS = {"0.1": 8, "0.3": 16, "3": 64}
"""Widths of dcgan, by millions of parameters (131,693, 321,109 and 2,836,229)."""

STEPS = (1, 5, 20, 100)
QUICKSTART = "20 steps of 64"
_CLIENTS = 4  # of the grid, as what is lost does not depend on it, and long rounds take long
_LEAST_STEPS = 80  # of a measurement


def roofline(plan: Plan) -> Measured:
    """Speed of a federation in process, of that of a hand-written loop of the same steps with the same threads.

    Rounds have all that belongs to them but scores: messages, aggregation, journal; a checkpoint every few seconds,
    beside the rounds.
    """
    cores = available_cores()
    for millions, width in WIDTHS.items():
        for steps in STEPS:
            if plan.quick and (width > 16 or steps > 1):
                continue
            config = _config(_CLIENTS, steps, 32, width)
            name = f"speed of the loop reached: {millions} M parameters, {steps} steps of 32, {cores} threads"
            yield _against_loop(plan, f"{millions}M-{steps}", name, config, cores)
    quickstart = _config(10, 2 if plan.quick else 20, 64, 16)
    yield _against_loop(plan, "quickstart-1", f"the same: 0.3 M parameters, {QUICKSTART}, 1 thread", quickstart, 1)
    if cores < 2:
        yield Skipped(what="two cores against one", why="this process may use one core")
        return
    name = f"the same: 0.3 M parameters, {QUICKSTART}, 2 threads"
    yield _against_loop(plan, "quickstart-2", name, quickstart, 2)
    for steps in (1,) if plan.quick else (20, 1):
        config = _config(10, steps, 32, 16)
        name = f"two workers over a loop of one thread, 0.3 M parameters, {steps} steps of 32"
        yield _against_loop(plan, f"two-cores-{steps}", name, config, 2, loop_threads=1)
        name = f"the same, workers in processes (--engine processes), {steps} steps of 32"
        yield _against_loop(plan, f"two-processes-{steps}", name, config, 2, loop_threads=1, engine="processes")


def _config(clients: int, steps: int, batch: int, width: int) -> RunConfig:
    return PLAIN.replaced(
        {
            "model": f"dcgan width={width}",
            "federation.num-clients": clients,
            "local.steps": steps,
            "local.batch-size": batch,
        }
    )


def _against_loop(
    plan: Plan,
    key: str,
    what: str,
    config: RunConfig,
    workers: int,
    loop_threads: int | None = None,
    engine: str = "threads",
) -> Figure:
    each = config.federation.num_clients * config.local.steps
    rounds = 1 if plan.quick else max(1, _LEAST_STEPS // each)
    loop = HandWritten(config, loop_threads or workers)
    loop.run(2 * workers)
    with Federation(config, workers, engine) as federation:
        pairs = in_turn(plan.times, lambda: federation.round(rounds), lambda: loop.run(rounds * each))
    return Figure(key=key, what=what, values=tuple(hand / ours for ours, hand in pairs))
