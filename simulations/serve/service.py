"""What all addresses share: runs, what makes images, and limits."""

import threading
from collections.abc import Callable
from typing import Protocol

import anyio.to_thread

from simulations.runs.run_reader import RunReader
from simulations.serve.answers import RunSummary
from simulations.serve.batching import BusyError
from simulations.serve.counters import Counters
from simulations.serve.generate_requests import GenerateRequest
from simulations.serve.generation import Answered, BatchGenerator, Counts, Generation, Task
from simulations.serve.library import Library
from simulations.serve.limits import Limits
from simulations.serve.processes import Processes
from simulations.serve.recent import Recent
from simulations.serve.summaries import read_detail, read_summary


class Making(Protocol):
    """What carries requests out, here or in processes of its own."""

    @property
    def is_alive(self) -> bool:
        """Whether it does."""

    async def start(self) -> None:
        """Begins, where that takes time."""

    async def answer(self, task: Task) -> Answered:
        """See ``Generation.answer``."""

    async def close(self) -> None:
        """Ends; what is under way fails, where it is not done soon."""


class InThread:
    """Carries requests out in threads of this process."""

    def __init__(self, limits: Limits, counts: Counts) -> None:
        self._generator = BatchGenerator(limits.waiting, counts)
        self.batcher = self._generator.batcher
        self._generation = Generation(limits, self._generator, counts)
        self.answer = self._generation.answer

    @property
    def is_alive(self) -> bool:
        """Whether the thread that makes images goes on."""
        return self.batcher.is_alive

    async def start(self) -> None:
        """Does nothing."""

    async def close(self) -> None:
        """Makes what waits, and ends."""
        await anyio.to_thread.run_sync(self.batcher.close)


class Service:
    """Everything behind the addresses.

    Args:
        library: The runs.
        limits: How much is taken on.
        in_processes: Whether images are made in processes of their own.
    """

    def __init__(self, library: Library, limits: Limits, in_processes: bool = False) -> None:
        self.library = library
        self.limits = limits
        self.counts = Counts()
        self.making: Making = (Processes if in_processes else InThread)(limits, self.counts)
        self.counters = Counters()
        self.summaries: Recent[RunSummary] = Recent(read_summary)
        self.details: Recent[bytes] = Recent(lambda record: read_detail(record).model_dump_json(by_alias=True).encode())
        self.refused = 0
        self.is_stopping: Callable[[], bool] = lambda: False
        self._streams = self._requests = 0
        self._lock = threading.Lock()

    async def generate(self, record: RunReader, request: GenerateRequest, accept: str = "") -> Answered:
        """Returns an answer; ``accept`` is what HTTP's header of that name says.

        Raises:
            ConfigError: What this generator cannot do, or more than is allowed.
            CheckpointError: There is no generator yet.
            BusyError: Too much is under way.
            TimeoutError: It took too long.
            StoppedError: The server stops.
            EndedError: The process that was at it has ended.
        """
        if self._requests >= self.limits.requests:
            self.refused += 1
            raise BusyError
        self._requests += 1
        try:
            return await self.making.answer(Task(record.name, record.run.path, request, accept))
        except BusyError:
            self.refused += 1
            raise
        finally:
            self._requests -= 1

    def open_stream(self) -> bool:
        """Takes note of one more stream, and returns whether it may be."""
        with self._lock:
            if self._streams >= self.limits.streams:
                return False
            self._streams += 1
            return True

    def close_stream(self) -> None:
        """Takes note of one stream less."""
        with self._lock:
            self._streams -= 1

    @property
    def streams(self) -> int:
        """Streams that are open."""
        return self._streams
