"""Clients in processes of their own: ``fedgan simulate --engine processes``.

Threads share one interpreter, which the eager steps of some clients wait for; processes do not. A client's result
depends on its message and its state alone, which pass to whatever process is idle; no bit of a run depends on which.
"""

import logging
import os
import pickle
import queue
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from flwr.app import Context, Message

from common.errors import FedGANError
from simulations.runtime.shared_memory import Shared, new_folder

_TOP = Path(__file__).resolve().parents[2]
_PATIENCE = 10.0  # seconds for a process to end by itself


class RemoteError(FedGANError):
    """A client has failed in another process; the text is the traceback there."""


class Processes:
    """Some worker processes, each of which runs one client at a time. In place of a ClientApp, and called as one.

    They are begun at once, and import what they need while the caller goes on. Interrupts are the caller's: a process
    ends when it is told to, or its caller is gone.

    Args:
        num: Processes.
    """

    def __init__(self, num: int) -> None:
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        self._all: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._shared = Shared(new_folder(), for_several=True)
        for _ in range(num):
            self._idle.put(self._begin())

    def __call__(self, message: Message, context: Context) -> Message:
        """Runs a client on a message; waits for an idle process first. ``context.state`` becomes what the client keeps.

        Raises:
            RemoteError: The client has raised, or its process has died, in whose place another one begins.
        """
        process = self._idle.get()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            self._shared.dump((message, context), process.stdin)
            content, state, error, said = self._shared.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            code = self._end(process)
            process = self._begin()
            raise RemoteError(f"the worker process of the client has died, with exit code {code}") from None
        except BaseException:
            process.kill()  # in the middle of a message, it is of no more use
            self._end(process)
            process = self._begin()
            raise
        finally:
            self._idle.put(process)
        for record in said:
            logging.getLogger(record.name).handle(record)
        if error:
            raise RemoteError(error)
        context.state = state
        return Message(content, reply_to=message)

    def close(self) -> None:
        """Ends the processes, by force those that are still at work."""
        with self._lock:
            self._closed = True
            processes = list(self._all)
        for process in processes:
            with suppress(OSError, ValueError):
                if process.stdin is not None:
                    self._shared.dump(None, process.stdin)
        for process in processes:
            self._end(process)
        self._shared.close()

    def _begin(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "simulations.runtime.worker", str(self._shared.folder or "")]
        path = os.pathsep.join([str(_TOP), *filter(None, [os.environ.get("PYTHONPATH")])])
        with self._lock:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
            )
            self._all.add(process)
            if self._closed:
                process.kill()
        return process

    def _end(self, process: subprocess.Popen[bytes]) -> int:
        """Waits for a process that is about to end, kills it if it does not, and returns its exit code."""
        try:
            code = process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        with suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        if process.stdout is not None:
            process.stdout.close()
        with self._lock:
            self._all.discard(process)
        return code
