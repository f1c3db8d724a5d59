"""The in-process runtime: the same ServerApp and ClientApp as everywhere, on a Flower Grid that is this process.

Clients of a round run side by side in worker threads, one intra-op thread each, and every client's result depends on
its message and its own state alone; so the number of workers changes the time, and not one bit of the weights.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing

import torch
from flwr.app import Context, Message, RecordDict

from client.app import app as client_app
from common.components import suggestion
from common.config import RunConfig
from common.errors import ConfigError
from common.threads import available_cores
from server.app import app as server_app
from server.rounds.base import Hook
from simulations.runtime.engine_choice import ALONE, FasterOfTwo, rows_before
from simulations.runtime.in_process_grid import RUN_ID, SERVER_NODE, InProcessGrid
from simulations.runtime.launch import check
from simulations.runtime.process_pool import Processes

ENGINES = ("auto", "threads", "processes", "batched", "fastest")
"""How the clients of a round may be trained; on a CPU the first three have the same bits."""


def simulate(
    config: RunConfig,
    *,
    num_workers: int | None = None,
    devices: Sequence[str] = (),
    on_reply: Callable[[int], None] | None = None,
    engine: str = "threads",
    num_rows: int | None = None,
    hooks: Sequence[Hook] = (),
) -> None:
    """Runs a federation in this process, to its end.

    Args:
        config: The run; ``output.dir`` is absolute.
        num_workers: Clients at a time; None: one a core that this process may use.
        devices: See ``InProcessGrid``; empty: of clients that are trained together, each GPU has its part.
        on_reply: Called with a partition id after each client's turn, in a worker's thread.
        engine: ``threads``: each client by itself; ``processes``: likewise, but workers are processes; ``batched``: see
            ``simulations.runtime.batched``. ``auto``: whatever is fastest of those with the same bits, which on a CPU
            are the first two (``simulations.runtime.engine_choice``); ``fastest``: of all. A run that goes on keeps to
            clients by themselves or together, unless one of the first three is named.
        num_rows: Most clients that are trained together; None: as many as suit the device.
        hooks: Look at each finished round, after those of the configuration.

    Raises:
        FedGANError: The run could not start or go on.
    """
    check_engine(engine)
    check(config)
    run_config = config.flat()
    workers = num_workers or available_cores()
    before = rows_before(config)
    on_cpu = _is_cpu(devices)
    if config.algorithm_component.fitting != "steps":
        engine = _engine_without_steps(config, engine)
    if engine in ("auto", "fastest") and (before is not None or (engine, on_cpu) == ("auto", True)):
        engine = "batched" if before else "equal"
    with ExitStack() as stack:
        app: Callable[[Message, Context], Message] = client_app
        around = barriers = None
        if engine in ("batched", "auto", "fastest"):
            from simulations.runtime.batched import devices_here, open_barriers

            devices = devices or devices_here()
            how = "batched" if engine == "batched" else "auto"
            barriers = open_barriers(config, how, workers, num_rows or before or None, devices)
        if engine == "processes":
            app = stack.enter_context(closing(Processes(min(workers, config.federation.cohort_size))))
        elif engine in ("equal", "fastest") and barriers is None and on_cpu:
            faster = stack.enter_context(closing(FasterOfTwo(config, workers)))
            app, around = faster, faster.round
        nodes = config.federation.num_clients
        grid = InProcessGrid(app, run_config, nodes, workers, devices, on_reply, barriers, around)
        grid.hooks = hooks
        if before and barriers is None:
            grid.engine = ALONE
        stack.enter_context(closing(grid))
        server_app(grid, Context(RUN_ID, SERVER_NODE, {}, RecordDict(), dict(run_config)))


def _is_cpu(devices: Sequence[str]) -> bool:
    """Returns whether clients train on the CPU."""
    return torch.device(devices[0]).type == "cpu" if devices else not torch.cuda.is_available()


def _engine_without_steps(config: RunConfig, engine: str) -> str:
    """Returns the engine of a run whose clients take no steps, such as those that count or add up.

    Raises:
        ConfigError: Such clients cannot be trained together.
    """
    if engine == "batched":
        raise ConfigError(
            f"--engine batched takes the steps of clients together, and those of algorithm={config.algorithm!r} take "
            "none: take --engine threads"
        )
    return "equal" if engine in ("auto", "fastest") else engine


def check_engine(engine: str) -> None:
    """Checks that an engine is one of ``ENGINES``.

    Raises:
        ConfigError: It is none.
    """
    if engine not in ENGINES:
        raise ConfigError(f"--engine {engine!r}: {suggestion(engine, list(ENGINES))}")
