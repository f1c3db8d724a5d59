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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flwr.app import Context, Message

from common.errors import FedGANError
from simulations.runtime.shared_memory import Free, Shared, new_folder

_TOP = Path(__file__).resolve().parents[2]
_PATIENCE = 10.0  # seconds for a process to end by itself


class RemoteError(FedGANError):
    """A client has failed in another process; the text is the traceback there."""


class WorkerDiedError(RemoteError):
    """The process that a client was run in has died."""


@dataclass(frozen=True)
class _Worker:
    """A process, and its files in shared memory that the caller has read and holds no more."""

    process: "subprocess.Popen[bytes]"
    free: Free = field(default_factory=Free)


class Processes:
    """Some worker processes, each of which runs one client at a time. In place of a ClientApp, and called as one.

    They are begun at once, and import what they need while the caller goes on. Interrupts are the caller's: a process
    ends when it is told to, or its caller is gone.

    Args:
        num: Processes.
    """

    def __init__(self, num: int) -> None:
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._all: list[_Worker] = []
        self._lock = threading.Lock()
        self._closed = False
        self._shared = Shared(new_folder(), is_caller=True)
        for _ in range(num):
            self._idle.put(self._begin())

    def __call__(self, message: Message, context: Context) -> Message:
        """Runs a client on a message; waits for an idle process first. ``context.state`` becomes what the client keeps.

        Raises:
            RemoteError: The client has raised.
            WorkerDiedError: Its process has died, in whose place another one begins.
        """
        worker = self._idle.get()
        try:
            content, state, error, said = self._run(worker, message, context)
        except (EOFError, OSError, pickle.UnpicklingError):
            code = self._end(worker)
            worker = self._begin()
            raise WorkerDiedError(f"the worker process of the client has died, with exit code {code}") from None
        except BaseException:
            worker.process.kill()  # in the middle of a message, it is of no more use
            self._end(worker)
            worker = self._begin()
            raise
        finally:
            self._idle.put(worker)
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
            workers = list(self._all)
        for worker in workers:
            with suppress(OSError, ValueError):
                if worker.process.stdin is not None:
                    self._shared.dump(None, worker.process.stdin)
        for worker in workers:
            self._end(worker)
        self._shared.close()

    def _run(self, worker: _Worker, message: Message, context: Context) -> Any:
        """Returns what a worker answers: content, state, a traceback or nothing, and what was logged."""
        assert worker.process.stdin is not None
        assert worker.process.stdout is not None
        free = [worker.free.popleft() for _ in range(len(worker.free))]
        sent = self._shared.dump((free, message, context), worker.process.stdin)
        answer = self._shared.load(worker.process.stdout, worker.free)
        del sent  # whose files are free to be written again from here on
        return answer

    def _begin(self) -> _Worker:
        command = [sys.executable, "-m", "simulations.runtime.worker", str(self._shared.folder or "")]
        path = os.pathsep.join([str(_TOP), *filter(None, [os.environ.get("PYTHONPATH")])])
        with self._lock:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
            )
            worker = _Worker(process)
            self._all.append(worker)
            if self._closed:
                process.kill()
        return worker

    def _end(self, worker: _Worker) -> int:
        """Waits for a process that is about to end, kills it if it does not, and returns its exit code."""
        process = worker.process
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
        self._shared.forget(process.pid)
        with self._lock:
            self._all = [other for other in self._all if other is not worker]
        return code
