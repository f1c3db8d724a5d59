"""How a run ends before its end: signals that come as errors, and the reason in the journal, whatever it is."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from common.errors import CheckpointError, OtherRunError, TerminatedError, in_words
from server.records import journal
from server.records.run_directory import RunDirectory

log = logging.getLogger("fedgan.server")

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def heeding_signals() -> Iterator[None]:
    """Turns the signals that end a process into errors while the block runs, so that what is done is saved.

    The second one ends the process at once. Handlers that are there already, as those of Flower's processes, stay.

    Raises:
        TerminatedError: A signal came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [number for number in _SIGNALS if signal.getsignal(number) == signal.SIG_DFL]

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        release()
        raise TerminatedError(signal.Signals(number).name, 128 + number)

    def release() -> None:
        for one in ours:
            signal.signal(one, signal.SIG_DFL)

    for one in ours:
        signal.signal(one, leave)
    try:
        yield
    finally:
        release()


@contextmanager
def noting_the_end(directory: RunDirectory) -> Iterator[None]:
    """Notes in the journal why the block ends before its end, in the words of the command line.

    That a run is another one than that in the folder is no end of the one in the folder.

    Args:
        directory: Of the run; claimed.
    """
    try:
        yield
    except OtherRunError:
        raise
    except BaseException as error:
        try:
            journal.note(directory.journal, "stopped", _last_round(directory), in_words(error))
        except OSError as problem:
            log.warning("why the run ended could not be noted in its journal: %s", problem)
        raise


def _last_round(directory: RunDirectory) -> int:
    try:
        lines = journal.read(directory.journal)
    except CheckpointError:
        return 0
    return int(lines[-1]["round"]) if lines else 0
