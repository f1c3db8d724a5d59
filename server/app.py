"""The Flower ServerApp: one run, from its configuration to its summary. The same object in every runtime."""

import logging

import torch
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from common.config import RunConfig
from server import journal
from server.run import run_federation

log = logging.getLogger("fedgan.server")

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Runs one federation from its first round, or from its last checkpoint, to its last round.

    Raises:
        FedGANError: The run cannot start or go on. What is done is in the run directory, with a checkpoint.
    """
    config = RunConfig.from_flat(context.run_config)
    directory = journal.resolve(config.output.dir)
    _make_heard()
    log.info("run directory: %s", directory.path)
    torch.set_num_threads(config.local.num_threads)
    run_federation(config, directory, grid)


def _make_heard() -> None:
    """Sends the log to stderr where nobody listens: under ``flwr run``, where that is the run's log."""
    logger = logging.getLogger("fedgan")
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("fedgan: %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
