"""So many runs at a time: one in this process, or several in processes of their own, which end with it."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

from common.errors import FedGANError

T = TypeVar("T")

_PATIENCE = 60.0  # seconds for a process to save what is done


class DiedError(FedGANError):
    """A process that ended without an answer."""


class Slots:
    """Where runs are made.

    Args:
        number: Runs at a time.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._context = multiprocessing.get_context("spawn")
        self._processes: set[SpawnProcess] = set()
        self._lock = threading.Lock()
        self.is_ending = False

    @property
    def is_here(self) -> bool:
        """Whether runs are made in this process."""
        return self._number == 1

    def work_off(self, take: Callable[[], Callable[[], None] | None]) -> None:
        """Carries out one task after the other, several at a time, until there is none.

        Args:
            take: Returns the next task, which calls ``call`` for what takes long; called by one thread at a time.
        """
        taking = threading.Lock()

        def slot() -> None:
            while not self.is_ending:
                with taking:
                    task = take()
                if task is None:
                    return
                task()

        if self.is_here:
            slot()
            return
        with ThreadPoolExecutor(self._number, "fedgan-search") as pool:
            waiting = [pool.submit(slot) for _ in range(self._number)]
            try:
                for one in wait(waiting, return_when=FIRST_EXCEPTION).done:
                    one.result()
            except BaseException:
                self.end()  # the other slots leave their tasks as they are
                raise

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Returns what a function returns, here or in a process of its own.

        Raises:
            DiedError: The process has ended without an answer.
            Exception: Whatever the function raises.
        """
        if self.is_here:
            return function(*arguments)
        source, sink = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_answer, args=(sink, function, arguments), daemon=False)
        with self._lock:
            if self.is_ending:
                raise DiedError("the search ends")
            process.start()
            self._processes.add(process)
        sink.close()
        try:
            found, error = source.recv()
        except EOFError:
            process.join()
            raise DiedError(_how_it_died(process.exitcode)) from None
        finally:
            process.join()
            self._processes.discard(process)
            source.close()
        if error is not None:
            raise error
        answer: T = found
        return answer

    def end(self) -> None:
        """Ends all processes, each after it has saved what is done."""
        with self._lock:
            self.is_ending = True
            left = list(self._processes)
        for process in left:
            process.terminate()
        for process in left:
            process.join(_PATIENCE)
            if process.is_alive():
                process.kill()


def _how_it_died(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        memory = ", perhaps for want of memory" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{memory}"
    return f"its process ended with exit code {code}"


def _answer(sink: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Calls a function and sends what comes of it: in a process that ends with the one that has started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller has had it too, and ends this process
    threading.Thread(target=_leave_with_caller, daemon=True).start()
    try:
        said: tuple[Any, Exception | None] = (function(*arguments), None)
    except Exception as error:
        said = (None, error)
    with suppress(BrokenPipeError):
        sink.send(said)


def _leave_with_caller() -> None:
    caller = multiprocessing.parent_process()
    if caller is not None:
        caller.join()
        os.kill(os.getpid(), signal.SIGTERM)
