"""A worker of ``process_pool``: ``python -m simulations.runtime.worker FOLDER``, which nobody starts by hand.

Reads pairs of message and context from stdin, and writes what became of each to stdout: the reply's content and the
client's state, or a traceback, and what was logged. Both ends are one program on one host under one user.
"""

import logging
import os
import signal
import sys
import traceback
from pathlib import Path

from client.app import app
from simulations.runtime.in_process_grid import identify_process
from simulations.runtime.shared_memory import Shared


class _Said(logging.Handler):
    """Keeps what is logged, to be handed on."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a record, as text that can be pickled."""
        record.msg, record.args, record.exc_info = record.getMessage(), None, None
        self.records.append(record)

    def take(self) -> list[logging.LogRecord]:
        """Returns what is kept, once."""
        taken, self.records = self.records, []
        return taken


def main() -> None:
    """Answers until it is told to end, or its caller is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller has had it too, and will end this process
    shared = Shared(Path(sys.argv[1]) if sys.argv[1] else None, is_caller=False)
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whoever prints does not write into answers
    identify_process()
    said = _Said()
    logger = logging.getLogger("fedgan")
    logger.addHandler(said)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logging.getLogger("fedgan.data").setLevel(logging.WARNING)  # the caller reads the same data, and says so
    try:
        while True:
            task = shared.load(source)
            if task is None:
                return
            free, message, context = task
            shared.reuse(free)
            content, error = None, ""
            try:
                content = app(message, context).content
            except Exception:
                error = traceback.format_exc()
            shared.dump((content, context.state, error, said.take()), sink)
    except (EOFError, BrokenPipeError):  # the caller has been killed
        shared.close()


if __name__ == "__main__":
    main()
