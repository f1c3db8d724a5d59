"""How the server's processes begin: forked from one that imports, once and beside the server, what they need."""

import multiprocessing
import signal
from multiprocessing import forkserver
from typing import Any

_WAY = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def context() -> Any:
    """Returns what makes processes, as ``multiprocessing`` does."""
    return multiprocessing.get_context(_WAY)


def prepare() -> None:
    """Begins to import what the processes need, in another one; called before the server imports the same."""
    if _WAY != "forkserver":
        return
    multiprocessing.set_forkserver_preload(["simulations.serve.processes"])
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is the server's, which ends the others
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)
