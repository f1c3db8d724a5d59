"""Calls between processes: here both ends of a socket are in one event loop."""

import asyncio
import socket
import threading

import pytest

from common.errors import ConfigError
from simulations.serve.links import EndedError, Link


async def linked(answer, on_end=lambda: None):
    """Returns the calling end of a socket, and the answering one."""
    caller, answering = Link(), Link(answer, on_end)
    for link, end in zip((caller, answering), socket.socketpair(), strict=True):
        await link.connect(end)
    return caller, answering


async def until(holds):
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0)


def test_answers_come_in_the_order_in_which_they_are_done_to_whoever_called():
    async def main():
        go = asyncio.Event()

        async def answer(text, waits):
            if waits:
                await go.wait()
            return text * 2

        caller, _ = await linked(answer)
        slow = asyncio.ensure_future(caller.call("a", True))
        assert await caller.call("b", False) == "bb"
        assert not slow.done()
        go.set()
        assert await slow == "aa"
        caller.close()

    asyncio.run(main())


def test_messages_longer_than_a_socket_takes_at_once_arrive_whole():
    async def main():
        async def answer(data):
            return data[::-1]

        caller, _ = await linked(answer)
        data = bytes(range(256)) * 20_000
        assert await asyncio.gather(caller.call(data), caller.call(b"xy")) == [data[::-1], b"yx"]
        caller.close()

    asyncio.run(main())


def test_what_the_other_end_raises_is_raised_here_and_in_words_where_it_cannot_be_sent():
    class OwnError(Exception):
        def __init__(self):
            super().__init__("own words", threading.Lock())

    async def main():
        async def answer(error):
            raise ConfigError("num is too large") if error == "known" else OwnError()

        caller, _ = await linked(answer)
        with pytest.raises(ConfigError, match="num is too large"):
            await caller.call("known")
        with pytest.raises(RuntimeError, match="own words"):
            await caller.call("own")
        caller.close()

    asyncio.run(main())


def test_a_call_that_nobody_waits_for_is_cancelled_at_the_other_end_too():
    async def main():
        seen = []

        async def answer():
            seen.append("begun")
            try:
                await asyncio.Event().wait()
            finally:
                seen.append("ended")

        caller, _ = await linked(answer)
        waiting = asyncio.ensure_future(caller.call())
        await until(lambda: seen == ["begun"])
        waiting.cancel()
        await until(lambda: seen == ["begun", "ended"])
        caller.close()
        return seen

    assert asyncio.run(main()) == ["begun", "ended"]


def test_when_one_end_goes_calls_fail_there_and_the_other_end_gives_up_its_work():
    async def main():
        seen = []

        async def answer():
            try:
                await asyncio.Event().wait()
            finally:
                seen.append("given up")

        caller, _ = await linked(answer, lambda: seen.append("noticed"))
        waiting = asyncio.ensure_future(caller.call())
        await asyncio.sleep(0)
        caller.close()
        with pytest.raises(EndedError):
            await waiting
        with pytest.raises(EndedError):
            await caller.call()
        await until(lambda: sorted(seen) == ["given up", "noticed"])

    asyncio.run(main())


def test_calls_before_there_is_a_connection_are_sent_when_there_is_one():
    async def main():
        async def answer(number):
            return number + 1

        ends = socket.socketpair()
        caller = Link()
        early = asyncio.ensure_future(caller.call(1))
        await asyncio.sleep(0)
        for link, end in zip((caller, Link(answer)), ends, strict=True):
            await link.connect(end)
        assert await early == 2
        caller.close()

    asyncio.run(main())
