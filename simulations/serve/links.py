"""Calls between the server's processes: messages over a socket, answered in whatever order they are done."""

import asyncio
import itertools
import pickle
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, cast

_HEAD = struct.Struct("!Q")  # the bytes of a message, before it


class EndedError(Exception):
    """The process at the other end has ended, or is being ended."""


class Link(asyncio.Protocol):
    """One end of a socket between two processes of one program; either may call the other.

    Args:
        answer: Answers a call of the other end, whose arguments it is given; None: this end is not called.
        on_end: Called once, when the other end has gone.

    Everything happens in the thread of the event loop, in which it is made.
    """

    def __init__(
        self, answer: Callable[..., Awaitable[Any]] | None = None, on_end: Callable[[], None] = lambda: None
    ) -> None:
        self._answer = answer
        self._on_end = on_end
        self._numbers = itertools.count()
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []  # before there is a connection
        self._closed = False

    async def connect(self, end: socket.socket) -> None:
        """Begins to use one end of a socket, which is the link's from now on."""
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=end)

    async def call(self, *arguments: Any) -> Any:
        """Returns what the other end answers; cancelled, it is told so.

        Raises:
            EndedError: It has ended before it answered.
            Exception: Whatever it has raised.
        """
        if self._closed:
            raise EndedError
        number = next(self._numbers)
        waiting = self._calls[number] = asyncio.get_running_loop().create_future()
        self._send("call", number, arguments)
        try:
            return await waiting
        except asyncio.CancelledError:
            self._send("cancel", number, None)
            raise
        finally:
            del self._calls[number]

    def close(self) -> None:
        """Ends the link: the other end notices, and what is waited for fails."""
        self._closed = True
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        transport = cast(asyncio.Transport, transport)  # uvloop's are none by their class
        self._transport = transport
        transport.writelines(self._unsent)
        self._unsent.clear()
        if self._closed:
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self._closed = True
        for waiting in self._calls.values():
            if not waiting.done():
                waiting.set_exception(EndedError())
        for task in self._tasks.values():
            task.cancel()
        self._on_end()

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        self._buffer += data
        while len(self._buffer) >= _HEAD.size:
            (size,) = _HEAD.unpack_from(self._buffer)
            end = _HEAD.size + size
            if len(self._buffer) < end:
                return
            with memoryview(self._buffer) as whole:
                message = pickle.loads(whole[_HEAD.size : end])
            del self._buffer[:end]
            self._take(*message)

    def _take(self, kind: str, number: int, content: Any) -> None:
        if kind == "call":
            assert self._answer is not None
            task = asyncio.get_running_loop().create_task(self._answered(number, content))
            self._tasks[number] = task
            task.add_done_callback(lambda _: self._tasks.pop(number, None))
        elif kind == "cancel":
            if (running := self._tasks.get(number)) is not None:
                running.cancel()
        elif (waiting := self._calls.get(number)) is not None and not waiting.done():
            if kind == "answer":
                waiting.set_result(content)
            else:
                waiting.set_exception(content)

    async def _answered(self, number: int, arguments: tuple[Any, ...]) -> None:
        assert self._answer is not None
        try:
            self._send("answer", number, await self._answer(*arguments))
        except Exception as error:
            self._send("error", number, error)

    def _send(self, kind: str, number: int, content: Any) -> None:
        if self._closed:
            return
        try:
            message = pickle.dumps((kind, number, content), protocol=5)
        except Exception as error:  # of an error that cannot be sent, its words
            message = pickle.dumps(("error", number, RuntimeError(f"{content!r}: {error}")))
        parts = [_HEAD.pack(len(message)), message]
        if self._transport is None:
            self._unsent += parts
        else:
            self._transport.writelines(parts)
