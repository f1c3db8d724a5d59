"""The Flower ServerApp: one run, from its configuration to its summary. The same object in every runtime."""

import logging

import torch
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from common.config import RunConfig
from common.errors import in_words, lasts
from common.logs import make_heard
from server.records import run_directory
from server.run import run_federation

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
