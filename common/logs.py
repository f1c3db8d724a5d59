"""The log of fedgan in processes that Flower starts, where nobody listens to it."""

import logging


def make_heard() -> bool:
    """Sends the log to stderr where nobody listens, as under ``flwr run``, and returns whether that was needed."""
    logger = logging.getLogger("fedgan")
    alone = not logger.hasHandlers()
    if alone:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("fedgan: %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    return alone
