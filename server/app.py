"""The Flower ServerApp: one run, from its configuration to its summary. The same object in every runtime."""

import logging
from contextlib import closing

import torch
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from common.config import RunConfig
from common.errors import in_words, lasts
from common.logs import make_heard
from server import finished
from server.clients.live_status import LiveStatus
from server.records import run_directory, tracking
from server.records.ending import heeding_signals, noting_the_end
from server.records.run_directory import RunDirectory
from server.recovery import claim, naming_what_is_safe
from server.run import Run

log = logging.getLogger("fedgan.server")

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Runs one federation from its first round, or from its last checkpoint, to its last round.

    Raises:
        FedGANError: The run cannot start or go on. What is done is in the run directory, with a checkpoint.
    """
    alone = make_heard()
    try:
        _run(grid, context)
    except Exception as error:
        if alone:  # Flower keeps no exit code: whoever follows the log shall know it
            how = "failed for good" if lasts(error) else "failed"
            log.error("%s with exit code %d: %s", how, getattr(error, "exit_code", 1), in_words(error))
        raise


def _run(grid: Grid, context: Context) -> None:
    config = RunConfig.from_flat(context.run_config)
    directory = run_directory.resolve(config.output.dir)
    torch.set_num_threads(config.local.num_threads)
    run_federation(config, directory, grid)


def run_federation(config: RunConfig, directory: RunDirectory, grid: Grid) -> None:
    """Runs one federation to its last round, from its first one or from its last checkpoint.

    One that is resumed and is over already stays as it is.

    Args:
        config: The run's configuration.
        directory: Where everything is written.
        grid: The clients.

    Raises:
        FedGANError: The run cannot start or go on. What is done is in the run directory, with a checkpoint.
    """
    directory.check(config.output.resume)
    if config.output.resume and (over := finished.remark(config, directory)):
        log.info("%s", over)
        return
    directory.create()
    with directory.locked(), heeding_signals():
        with naming_what_is_safe(directory):
            claim(config, directory)
        with noting_the_end(directory), naming_what_is_safe(directory):
            run = Run(config, directory, grid)
            run.begin()
            with closing(run), tracking.in_background(config, directory), LiveStatus(directory.now) as now:
                run.show_clients_in(now)
                try:
                    run.train()
                except BaseException:
                    run.save_what_is_done()
                    raise
                run.finish()
