"""Two processes that carry requests out, so that neither waits for the interpreter that speaks HTTP, nor for the other.

The server's process calls the encoders' one with whole requests, and that calls the generator's one with noise. When
one of them ends, what was under way fails, and two new ones begin. Both end with the server's process, however it ends.
"""

import asyncio
import itertools
import logging
import signal
import socket
import time
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import replace
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simulations.serve import beginning
from simulations.serve.batching import StoppedError
from simulations.serve.generation import Answered, BatchGenerator, Counts, Generation, Task
from simulations.serve.limits import Limits
from simulations.serve.links import EndedError, Link
from simulations.serve.models import Maker, Network, Writer

log = logging.getLogger("fedgan.serve")

_REST = 5.0  # seconds between two beginnings, lest they follow each other all the time
_PATIENCE = 5.0  # seconds that a process has to end
_LARGEST_KEPT = 31 * 2**20  # bytes; of 32 MB glibc would make no use


class Processes:
    """Carries requests out in two processes, which begin with the first one or with ``start``.

    Args:
        limits: How much is taken on.
        counts: Where it is counted.

    Everything happens in the thread of the event loop.
    """

    def __init__(self, limits: Limits, counts: Counts) -> None:
        self._limits = limits
        self._counts = counts
        self._context = beginning.context()
        self._link: Link | None = None
        self._processes: list[BaseProcess] = []
        self._began = float("-inf")
        self._closed = False
        self._beginning: asyncio.Task[None] | None = None
        self._replacing: asyncio.Task[None] | None = None

    @property
    def is_alive(self) -> bool:
        """Whether requests are carried out, or will be once the processes have begun."""
        return not self._closed and (self._link is not None or self._may_begin)

    @property
    def _may_begin(self) -> bool:
        return time.monotonic() - self._began > _REST

    async def answer(self, task: Task) -> Answered:
        """See ``Generation.answer``.

        Raises:
            EndedError: A process has ended meanwhile.
        """
        await self.start()
        if self._link is None:
            raise StoppedError if self._closed else EndedError
        try:
            answered: Answered = await self._link.call(task)
        except EndedError:
            raise StoppedError if self._closed else EndedError from None
        return answered

    async def start(self) -> None:
        """Begins the processes where there are none; they import what they need while calls wait for them."""
        if self._link is not None or self._closed or not self._may_begin:
            return
        self._began = time.monotonic()
        threads = max(1, torch.get_num_threads() - 1)  # a core is left to the encoders and HTTP
        ours, theirs = socket.socketpair()
        theirs_too, generator = socket.socketpair()
        self._link = link = Link(on_end=lambda: self._ended(link))
        self._processes = [
            self._context.Process(target=target, args=arguments, name=name, daemon=True)
            for name, target, arguments in (
                ("encoders", run_encoders, (theirs, theirs_too, self._limits, self._counts)),
                ("generator", run_generator, (generator, threads, self._limits, self._counts)),
            )
        ]
        ends = (theirs, theirs_too, generator)
        await link.connect(ours)
        loop = asyncio.get_running_loop()
        self._beginning = loop.create_task(asyncio.to_thread(_begin, self._processes, ends))
        self._beginning.add_done_callback(lambda done: self._has_begun(link, done))

    def _has_begun(self, link: Link, done: asyncio.Task[None]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            log.error("the processes that make images cannot begin: %s", error)
            link.close()

    def _ended(self, link: Link) -> None:
        """Begins again after a process has ended, or with the next request where they have only just begun."""
        if link is not self._link:
            return
        self._link, processes = None, self._processes
        if not self._closed:
            self._replacing = asyncio.get_running_loop().create_task(self._replace(processes))

    async def _replace(self, processes: list[BaseProcess]) -> None:
        if self._beginning is not None:
            await asyncio.wait([self._beginning])
        words = await asyncio.to_thread(_end, processes)
        log.warning("a process that makes images has ended (%s): what was under way is not made", words)
        await self.start()

    async def close(self) -> None:
        """Ends the processes; what is under way fails."""
        self._closed = True
        if self._link is not None:
            self._link.close()
        for task in filter(None, (self._beginning, self._replacing)):
            await asyncio.wait([task])
        await asyncio.to_thread(_end, self._processes)


def _begin(processes: list[BaseProcess], ends: tuple[socket.socket, ...]) -> None:
    try:
        beginning.prepare()
        for process in processes:
            process.start()
    finally:
        for end in ends:
            end.close()


def _end(processes: list[BaseProcess]) -> str:
    """Ends processes whose link has gone, and returns how they ended."""
    begun = [process for process in processes if process.pid is not None]
    until, words = time.monotonic() + _PATIENCE, []
    for process in begun:
        process.join(max(0.0, until - time.monotonic()))
        if process.exitcode is None:
            process.kill()
            process.join()
        words.append(f"{process.name}: exit code {process.exitcode}")
    return ", ".join(words) or "none had begun"


def run_encoders(server: socket.socket, generator: socket.socket, limits: Limits, counts: Counts) -> None:
    """Answers requests in a process of its own until the server's process or the generator's has gone."""

    async def main(ended: asyncio.Event) -> None:
        to_generator = Link(on_end=ended.set)
        await to_generator.connect(generator)
        generation = Generation(limits, RemoteGenerator(to_generator), counts)
        await Link(generation.answer, ended.set).connect(server)

    torch.set_num_threads(1)
    _run(main)


def run_generator(encoders: socket.socket, threads: int, limits: Limits, counts: Counts) -> None:
    """Makes examples in a process of its own until the encoders' process has gone."""

    async def main(ended: asyncio.Event) -> None:
        known = KnownNetworks(BatchGenerator(limits.waiting, counts))
        await Link(known.make, ended.set).connect(encoders)

    torch.set_num_threads(threads)
    torch.empty(_LARGEST_KEPT, dtype=torch.uint8)  # once freed, glibc keeps what is freed later, up to this size
    _run(main)


def _run(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Runs ``main``, and waits for the event; then this process ends, whatever the generator's thread does."""

    async def until_the_end() -> None:
        ended = asyncio.Event()
        await main(ended)
        await ended.wait()

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server has had it too, and will end this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    asyncio.run(until_the_end())


class RemoteGenerator:
    """The generator's process, as that of the encoders sees it; see ``generation.Generator``.

    A network is sent there once, and forgotten there when it is no longer in use here.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._numbers = itertools.count()
        self._known: weakref.WeakKeyDictionary[Network, int] = weakref.WeakKeyDictionary()
        self._forgotten: list[int] = []

    async def make(self, maker: Maker, rows: tuple[Tensor, ...]) -> Tensor:
        """See ``generation.Generator``."""
        network, options = (maker.network, maker.options) if isinstance(maker, Writer) else (maker, None)
        assert isinstance(network, Network)
        new = None
        if network not in self._known:
            self._known[network] = next(self._numbers)
            weakref.finalize(network, self._forgotten.append, self._known[network])
            new = Network(replace(network.trained, adversary=None), network.joins)
        forgotten = [self._forgotten.pop() for _ in range(len(self._forgotten))]
        made = await self._link.call(forgotten, self._known[network], new, options, [row.numpy() for row in rows])
        return torch.from_numpy(made)


class KnownNetworks:
    """The networks that the encoders' process has sent to that of the generator."""

    def __init__(self, generator: BatchGenerator) -> None:
        self._generator = generator
        self._networks: dict[int, Network] = {}

    async def make(
        self,
        forgotten: list[int],
        number: int,
        new: Network | None,
        options: tuple[float | None, float | None] | None,
        rows: list[NDArray[Any]],
    ) -> NDArray[Any]:
        """Returns examples as they are stored, (N, ...).

        Args:
            forgotten: Numbers of networks that are no longer in use.
            number: That of the network that makes them.
            new: The network, where it has not been sent before.
            options: Of sampling text; None: it makes no text.
            rows: What examples are made of, N rows of each.
        """
        for one in forgotten:
            self._networks.pop(one, None)
        if new is not None:
            self._networks[number] = new
        network = self._networks[number]
        maker = network if options is None else network.adapted(*options)
        made: NDArray[np.generic] = (await self._generator.make(maker, tuple(map(torch.from_numpy, rows)))).numpy()
        return made
