"""Many clients of a server at once: each sends its next request when it has the answer to the last, on one connection.

One thread and no HTTP library, as the server is to have the machine: a request costs this side some 50 microseconds.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

_END_OF_HEAD = b"\r\n\r\n"
_LONGEST = 60.0  # seconds to the first answer
_LENGTH = b"\r\ncontent-length:"


@dataclass
class Answers:
    """What came while it was measured.

    Attributes:
        seconds: How long that was.
        waits: Seconds from each request to the end of its answer.
        size: Bytes of all bodies.
    """

    seconds: float = 0.0
    waits: list[float] = field(default_factory=list)
    size: int = 0

    @property
    def a_second(self) -> float:
        """Answers a second."""
        return len(self.waits) / self.seconds

    def quantile(self, share: float) -> float:
        """Returns the seconds within which this share of the answers came."""
        return sorted(self.waits)[max(0, math.ceil(share * len(self.waits)) - 1)]


def load(port: int, path: str, body_of: Callable[[int], bytes], clients: int, warm: float, seconds: float) -> Answers:
    """Returns what ``clients`` at once are answered on this machine.

    Args:
        port: Of the server.
        path: What is posted to.
        body_of: The body of the n-th request of all clients together, JSON.
        clients: How many ask at once.
        warm: Seconds before it counts.
        seconds: How long it counts.

    Raises:
        RuntimeError: An answer other than 200, or a connection that ended.
    """
    return asyncio.run(_load(port, path, body_of, clients, warm, seconds))


async def _load(
    port: int, path: str, body_of: Callable[[int], bytes], clients: int, warm: float, seconds: float
) -> Answers:
    loop = asyncio.get_running_loop()
    failed: asyncio.Future[None] = loop.create_future()
    counting: list[Answers] = []
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
    sent = iter(range(10**12))

    def request() -> bytes:
        body = body_of(next(sent))
        return b"%s%d\r\n\r\n%s" % (head.encode(), len(body), body)

    transports = []
    try:
        for _ in range(clients):
            transport, _ = await loop.create_connection(lambda: _Client(request, counting, failed), "127.0.0.1", port)
            transports.append(transport)
        await asyncio.wait([failed], timeout=warm)
        counting.append(answers := Answers())
        begun = time.perf_counter()
        await asyncio.wait([failed], timeout=seconds)
        while not (answers.waits or failed.done()) and time.perf_counter() - begun < _LONGEST:  # a busy machine
            await asyncio.wait([failed], timeout=seconds)
        answers.seconds = time.perf_counter() - begun
        counting.clear()
        if failed.done():
            failed.result()
    finally:
        for transport in transports:
            transport.abort()
    return answers


class _Client(asyncio.Protocol):
    """One connection.

    Args:
        request: Returns the bytes of the next request.
        counting: Holds what answers are counted in, while they are.
        failed: Is told what went wrong.
    """

    def __init__(self, request: Callable[[], bytes], counting: list[Answers], failed: "asyncio.Future[None]") -> None:
        self._request = request
        self._counting = counting
        self._failed = failed
        self._head = b""
        self._length = self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the first request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._head, self._left = b"", -1
        self._sent = time.perf_counter()
        self._transport.write(self._request())

    def data_received(self, data: bytes) -> None:
        """Counts an answer that is whole, and sends the next request."""
        if self._left < 0:  # still in the head
            self._head += data
            end = self._head.find(_END_OF_HEAD)
            if end < 0:
                return
            head = self._head[:end].lower()
            if not head.startswith(b"http/1.1 200 "):
                self._fail(f"the server answered {self._head[:500]!r}")
                return
            self._length = int(head.partition(_LENGTH)[2].partition(b"\r\n")[0])
            self._left = self._length - (len(self._head) - end - len(_END_OF_HEAD))
        else:
            self._left -= len(data)
        if self._left == 0:
            for answers in self._counting:
                answers.waits.append(time.perf_counter() - self._sent)
                answers.size += self._length
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Says that it ended, unless it was ended."""
        if not self._transport.is_closing():
            self._fail("the server ended a connection")

    def _fail(self, why: str) -> None:
        if not self._failed.done():
            self._failed.set_exception(RuntimeError(why))
