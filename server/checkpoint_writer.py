"""Writes checkpoints beside the rounds, so that no round waits for a disk."""

import threading
import time
from collections import deque
from collections.abc import Callable

from server.rounds.base import Snapshot

_MOST_WAITING = 2  # snapshots that none is left out of; whoever brings another one waits


class CheckpointWriter:
    """Writes snapshots one after another in a thread of its own, in the order of their rounds.

    Of those that may be left out, only the latest is written, and not before ``seconds`` have passed since the last
    write: a round that is lost is repeated to the same bits. The first is written at once, so that a run that is killed
    again and again still gets on.

    Args:
        write: Makes one last; called in that thread.
        seconds: See above; 0: whoever brings a snapshot writes it, and goes on when it is on disk.
    """

    def __init__(self, write: Callable[[Snapshot], None], seconds: float) -> None:
        self._write, self._seconds = write, seconds
        self._changed = threading.Condition()
        self._waiting: deque[Snapshot] = deque()
        self._latest: Snapshot | None = None  # may be left out
        self._is_writing = self._in_haste = self._closed = False
        self._not_before = -float("inf")
        self._problem: BaseException | None = None
        self._thread: threading.Thread | None = None

    def put(self, snapshot: Snapshot, *, may_be_left_out: bool) -> None:
        """Hands a snapshot over, which nobody writes to any more.

        Raises:
            OSError: It, or one before it, cannot be written.
        """
        if not self._seconds:
            self._write(snapshot)
            return
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < _MOST_WAITING)
            self._raise_problem()
            self._latest = snapshot if may_be_left_out else None
            if not may_be_left_out:
                self._waiting.append(snapshot)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="fedgan-checkpoints", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self) -> None:
        """Writes what is not written yet, and returns when it is on disk.

        Raises:
            OSError: It cannot be written.
        """
        with self._changed:
            self._in_haste = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not (self._is_writing or self._waiting or self._latest))
            self._in_haste = False
            self._raise_problem()

    def close(self) -> None:
        """Ends the thread after the write at hand; what waits is not written."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _raise_problem(self) -> None:
        problem, self._problem = self._problem, None
        if problem is not None:
            raise problem

    def _run(self) -> None:
        while (snapshot := self._next()) is not None:
            problem = None
            try:
                self._write(snapshot)
            except BaseException as error:
                problem = error
            with self._changed:
                self._is_writing, self._not_before = False, time.monotonic() + self._seconds
                if problem is not None:
                    self._problem, self._latest = problem, None
                    self._waiting.clear()
                self._changed.notify_all()

    def _next(self) -> Snapshot | None:
        """Waits for what is to be written next; None: nothing any more."""
        with self._changed:
            while not self._closed:
                if self._waiting:
                    self._is_writing = True
                    self._changed.notify_all()
                    return self._waiting.popleft()
                left = self._not_before - time.monotonic()
                if self._latest is not None and (left <= 0 or self._in_haste):
                    self._is_writing, snapshot, self._latest = True, self._latest, None
                    return snapshot
                self._changed.wait(left if self._latest is not None else None)
        return None
