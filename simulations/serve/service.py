"""What all addresses share: runs, generators, the queue of requests, and limits."""

import hashlib
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.to_thread

from common.errors import ConfigError
from simulations.runs import provenance
from simulations.runs.run_reader import RunReader
from simulations.serve import sampling
from simulations.serve.batching import Batcher, BusyError, StoppedError
from simulations.serve.counters import Counters
from simulations.serve.generate_requests import GenerateRequest
from simulations.serve.library import Library
from simulations.serve.limits import Limits
from simulations.serve.models import Models, Network
from simulations.serve.ways import way_for

_MOST_LABELS = 64  # labels that a provenance repeats; of more, a digest


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


class Service:
    """Everything behind the addresses.

    Args:
        library: The runs.
        limits: How much is taken on.
    """

    def __init__(self, library: Library, limits: Limits) -> None:
        self.library = library
        self.limits = limits
        self.models = Models()
        self.batcher = Batcher(limits.waiting)
        self.counters = Counters()
        self.refused = 0
        self.is_stopping: Callable[[], bool] = lambda: False
        self._streams = self._requests = 0
        self._lock = threading.Lock()
        self._threads: anyio.CapacityLimiter | None = None  # made where the event loop is
        self._encoders = threading.BoundedSemaphore(limits.encoders)

    async def generate(self, record: RunReader, wanted: GenerateRequest, accept: str = "") -> "Answered":
        """Returns an answer; ``accept`` is what HTTP's header of that name says.

        Raises:
            ConfigError: What this generator cannot do, or more than is allowed.
            CheckpointError: There is no generator yet.
            BusyError: Too much is under way.
            TimeoutError: It took too long.
            StoppedError: The server stops.
        """
        with self._lock:
            if self._requests >= self.limits.requests:
                self.refused += 1
                raise BusyError
            self._requests += 1
        try:
            # One thread from its noise to its bytes: each change of threads costs as much as some images.
            self._threads = self._threads or anyio.CapacityLimiter(self.limits.requests)
            return await anyio.to_thread.run_sync(self._generate, record, wanted, accept, limiter=self._threads)
        except BusyError:
            self.refused += 1
            raise
        finally:
            with self._lock:
                self._requests -= 1

    def _generate(self, record: RunReader, wanted: GenerateRequest, accept: str) -> "Answered":
        if (most := sampling.candidates(wanted)) > self.limits.images:
            raise ConfigError(
                f"{most} examples would be made, and {self.limits.images} a request are allowed: ask in parts"
            )
        network = self.models.get(record, wanted.round, wanted.client)
        way = way_for(network.trained)(wanted, network, self.limits, accept)
        maker, rows = way.rows()
        future = self.batcher.submit(maker, *rows)
        try:
            made = future.result(self.limits.seconds)
        except TimeoutError:
            future.cancel()
            raise
        except CancelledError:  # the server stops, and this was not made in time
            raise StoppedError from None
        with self._encoders:
            facts = _facts(record, network, wanted)
            content = way.encode(made, facts)
        return Answered(content, way.media[way.format], way.endings[way.format], facts)

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


def _facts(record: RunReader, network: Network, wanted: GenerateRequest) -> dict[str, Any]:
    request = wanted.model_dump(by_alias=True, exclude_defaults=True, mode="json")
    for key in ("labels", "noise"):
        if isinstance(request.get(key), list) and (key == "noise" or len(request[key]) > _MOST_LABELS):
            request[key] = f"sha256:{hashlib.sha256(provenance.written({key: request[key]}).encode()).hexdigest()}"
    trained = network.trained
    shared = provenance.origin(record.name, trained.config.data.name, trained.round, wanted.seed, trained.digest)
    return shared | {"request": request, "rejected": 0}
