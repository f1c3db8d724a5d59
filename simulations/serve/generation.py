"""From a request to the bytes of its answer: noise, the generator, and an encoder."""

import asyncio
import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from common.errors import ConfigError
from server.records.run_directory import RunDirectory
from simulations.runs import provenance
from simulations.runs.run_reader import RunReader
from simulations.serve import sampling
from simulations.serve.batching import Batcher, StoppedError
from simulations.serve.generate_requests import GenerateRequest
from simulations.serve.limits import Limits
from simulations.serve.models import Maker, Models, Network
from simulations.serve.ways import Way, way_for

_MOST_LABELS = 64  # labels that a provenance repeats; of more, a digest
_MOST_RECORDS = 1000


@dataclass(frozen=True)
class Task:
    """A request, and whose generator is to make what it is for.

    Attributes:
        run: The run's name in addresses.
        path: Its directory.
        request: The request.
        accept: What HTTP's header of that name says.
    """

    run: str
    path: Path
    request: GenerateRequest
    accept: str = ""


@dataclass(frozen=True)
class Answered:
    """An answer to a request.

    Attributes:
        content: Its bytes.
        media: Their media type.
        ending: Of a file of them.
        facts: Where the examples come from.
    """

    content: bytes
    media: str
    ending: str
    facts: Mapping[str, Any]


class Counts:
    """What is counted of generating, in memory that processes share."""

    _NAMES = ("images", "passes", "joined", "waiting", "loads")

    def __init__(self) -> None:
        self._numbers = RawArray("q", len(self._NAMES))

    def get(self, name: str) -> int:
        """Returns a count: ``images``, ``passes``, those that ``joined`` requests, images ``waiting``, ``loads``."""
        return int(self._numbers[self._NAMES.index(name)])

    def set(self, **counts: int) -> None:
        """Notes counts, each of which one process alone does."""
        for name, count in counts.items():
            self._numbers[self._NAMES.index(name)] = count


class Generator(Protocol):
    """What makes examples: the thread of ``batching``, here or in another process."""

    async def make(self, maker: Maker, rows: tuple[Tensor, ...]) -> Tensor:
        """Returns examples as they are stored, (N, ...); cancelled, no more of them are made.

        Raises:
            BusyError: Too much waits already.
            StoppedError: It has been closed.
            DivergenceError: They are not finite.
        """


class BatchGenerator:
    """Makes examples in a thread of this process.

    Args:
        most_waiting: Images that may wait or be made at a time.
        counts: Where it is counted.
    """

    def __init__(self, most_waiting: int, counts: Counts) -> None:
        self.batcher = Batcher(most_waiting)
        self._counts = counts

    async def make(self, maker: Maker, rows: tuple[Tensor, ...]) -> Tensor:
        """See ``Generator.make``."""
        try:
            return await asyncio.wrap_future(self.batcher.submit(maker, *rows))
        except asyncio.CancelledError:
            if self.batcher.is_stopping:  # and this was not made in time
                raise StoppedError from None
            raise
        finally:
            batcher = self.batcher
            self._counts.set(images=batcher.images, passes=batcher.passes, joined=batcher.joined)


class Generation:
    """Carries requests out.

    Args:
        limits: How much is taken on.
        generator: Makes examples.
        counts: Where it is counted.
    """

    def __init__(self, limits: Limits, generator: Generator, counts: Counts) -> None:
        self.models = Models()
        self._limits = limits
        self._generator = generator
        self._counts = counts
        self._waiting = 0
        self._records: dict[tuple[str, Path], RunReader] = {}
        self._encoders = ThreadPoolExecutor(limits.encoders, "fedgan-encoder")

    async def answer(self, task: Task) -> Answered:
        """Returns the answer to a request: the same bytes for the same one.

        Raises:
            ConfigError: What this generator cannot do, or more than is allowed.
            CheckpointError: There is no generator yet.
            BusyError: Too much waits.
            TimeoutError: It took too long.
            StoppedError: Nothing is made any more.
        """
        loop = asyncio.get_running_loop()
        way, facts, maker, rows = await loop.run_in_executor(self._encoders, self._prepared, task)
        self._wait(len(rows[0]))
        try:
            made = await asyncio.wait_for(self._generator.make(maker, rows), self._limits.seconds)
        finally:
            self._wait(-len(rows[0]))
        content = await loop.run_in_executor(self._encoders, way.encode, made, facts)
        return Answered(content, way.media[way.format], way.endings[way.format], facts)

    def _prepared(self, task: Task) -> tuple[Way, dict[str, Any], Maker, tuple[Tensor, ...]]:
        request = task.request
        if (most := sampling.candidates(request)) > self._limits.images:
            raise ConfigError(
                f"{most} examples would be made, and {self._limits.images} a request are allowed: ask in parts"
            )
        record = self._record(task)
        network = self.models.get(record, request.round, request.client)
        self._counts.set(loads=self.models.loads)
        way = way_for(network.trained)(request, network, self._limits, task.accept)
        return way, _facts(record, network, request), *way.rows()

    def _record(self, task: Task) -> RunReader:
        key = (task.run, task.path)
        if key not in self._records:
            if len(self._records) >= _MOST_RECORDS:
                self._records.clear()
            self._records[key] = RunReader(task.run, RunDirectory(task.path))
        return self._records[key]

    def _wait(self, num: int) -> None:
        self._waiting += num
        self._counts.set(waiting=self._waiting)


def _facts(record: RunReader, network: Network, request: GenerateRequest) -> dict[str, Any]:
    written = request.model_dump(by_alias=True, exclude_defaults=True, mode="json")
    for key in ("labels", "noise"):
        if isinstance(written.get(key), list) and (key == "noise" or len(written[key]) > _MOST_LABELS):
            written[key] = f"sha256:{hashlib.sha256(provenance.written({key: written[key]}).encode()).hexdigest()}"
    trained = network.trained
    shared = trained.origin(record.name, request.seed)
    return shared | {"request": written, "rejected": 0}
