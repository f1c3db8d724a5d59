"""One thread that makes all images and texts: what waits at the same time goes through the generator together.

Nobody's bytes change by it. Each request brings its own noise, drawn from its own seed; every pass has exactly
``ROWS`` rows, filled up with zeros; and images of different requests share a pass only where ``models.rows_apart`` has
found that a row does not depend on its place or on the others. Elsewhere each request is made alone.
"""

import logging
import threading
from collections import deque
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field

import torch
from torch import Tensor

from common.errors import DivergenceError
from simulations.serve.models import ROWS, Maker

log = logging.getLogger("fedgan.serve")


class BusyError(Exception):
    """Too much waits already."""


class StoppedError(Exception):
    """The server is stopping."""


class _AbandonedError(Exception):
    """Nobody waits any more for what is being made."""


@dataclass(eq=False)
class _Job:
    """One request: ``done`` of its rows are made."""

    network: Maker
    rows: tuple[Tensor, ...]
    future: "Future[Tensor]" = field(default_factory=Future)
    images: list[Tensor] = field(default_factory=list)
    done: int = 0

    @property
    def left(self) -> int:
        return len(self.rows[0]) - self.done

    def goes_with(self, other: "_Job") -> bool:
        """Returns whether the two may be made in one pass."""
        shapes = [[values.shape[1:] for values in job.rows] for job in (self, other)]
        return self.network is other.network and self.network.joins and shapes[0] == shapes[1]


class Batcher:
    """Makes images in the order of requests, a pass at a time; a long request lets others in between its passes.

    Args:
        most_waiting: Images that may wait or be made at a time.
    """

    def __init__(self, most_waiting: int) -> None:
        self._most = most_waiting
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self.passes = 0
        self.images = 0
        self.joined = 0
        self._thread = threading.Thread(target=self._work, name="fedgan-generator", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Images that are waited for."""
        with self._changed:
            return self._rows()

    @property
    def is_alive(self) -> bool:
        """Whether images are made."""
        return self._thread.is_alive()

    @property
    def is_stopping(self) -> bool:
        """Whether ``close`` was called."""
        return self._stopping

    def submit(self, network: Maker, *rows: Tensor) -> "Future[Tensor]":
        """Returns what will hold the examples as they are stored, (N, ...); cancelled, no more of them are made.

        Args:
            network: Makes them.
            rows: What it makes them of, N rows of each, N at least 1: noise, labels, ...

        Raises:
            BusyError: With these, more images than allowed would wait.
            StoppedError: ``close`` was called.
        """
        job = _Job(network, rows)
        with self._changed:
            if self._stopping:
                raise StoppedError
            if self._rows() + job.left > self._most:
                raise BusyError
            self._jobs.append(job)
            self._changed.notify()
        return job.future

    def _rows(self) -> int:
        return sum(job.left for job in self._jobs if not job.future.done())

    def close(self, seconds: float = 10.0) -> None:
        """Takes nothing more, makes what waits, and ends; what is not done in time is cancelled."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(seconds)
        with self._changed:
            for job in self._jobs:
                job.future.cancel()
            self._jobs.clear()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._stopping)
                picked = self._pick()
                if not picked and self._stopping and not self._jobs:
                    return
            if picked:
                self._make(picked)

    def _pick(self) -> list[tuple[_Job, int]]:
        """Returns whose rows, and how many of each, make the next pass: the first job's, and what may go with them."""
        self._jobs = deque(job for job in self._jobs if not job.future.done())
        picked: list[tuple[_Job, int]] = []
        room = ROWS
        for job in self._jobs:
            if not room or (picked and not job.goes_with(picked[0][0])):
                continue
            count = min(room, job.left)
            picked.append((job, count))
            room -= count
        return picked

    def _make(self, picked: list[tuple[_Job, int]]) -> None:
        network = picked[0][0].network

        def require_someone() -> None:
            if all(job.future.done() for job, _ in picked):
                raise _AbandonedError

        try:
            parts = zip(*([values[job.done : job.done + n] for values in job.rows] for job, n in picked), strict=True)
            images, sound = network.make(*(torch.cat(part) for part in parts), on_step=require_someone)
        except _AbandonedError:
            return
        except Exception as error:  # goes to those who wait for it; the thread goes on
            log.exception("a pass of %d images failed", sum(count for _, count in picked))
            with self._changed:
                for job, _ in picked:
                    self._finish(job, error)
            return
        counts = [count for _, count in picked]
        with self._changed:
            self.passes += 1
            self.images += sum(counts)
            self.joined += len(picked) > 1
            for (job, count), made, fine in zip(
                picked, torch.split(images, counts), torch.split(sound, counts), strict=True
            ):
                job.images.append(made)
                job.done += count
                if not bool(fine.all()):
                    self._finish(job, DivergenceError("the generator's images are not finite"))
                elif not job.left:
                    self._finish(job, None)
                elif job in self._jobs:  # to the end of the line
                    self._jobs.remove(job)
                    self._jobs.append(job)

    def _finish(self, job: _Job, error: Exception | None) -> None:
        if job in self._jobs:
            self._jobs.remove(job)
        try:
            if error is None:
                job.future.set_result(torch.cat(job.images))
            else:
                job.future.set_exception(error)
        except InvalidStateError:
            pass  # nobody waits for it any more
