"""A journal as server-sent events: what is there, then each line as it comes."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
from fastapi.sse import format_sse_event

from common.files import read_file
from simulations.runs.journal_tail import Tail
from simulations.runs.round_status import RoundStatus
from simulations.runs.run_reader import RunReader
from simulations.runs.status import state_of
from simulations.serve.answer_base import finite

_LOOK_EVERY = 0.5  # seconds
_LOOKS_A_STATE = 4  # without news, after which it is looked whether the run has ended
_LONGEST_NOW = 2**22
_BREATH_EVERY = 20  # looks without news after which a comment keeps the line open


async def events(record: RunReader, offset: int, stopping: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Yields server-sent events until the run has ended or the server stops.

    ``round`` and ``event`` are a line of the journal each. Their id is where in the journal they end; a browser that
    comes back names its last one, and gets what followed. ``reset`` says that the journal was cut, as when a run goes
    back to an earlier round, and begins again. ``now``, without an id, is what clients do in the round that is under
    way, whenever that changes. ``end`` is the last: the run has finished or failed.

    Args:
        record: Of the run, whose journal is there, or will be.
        offset: The last id that the reader has; 0: none.
        stopping: Whether the server stops.
    """
    tail = Tail(record.run.journal, offset)
    quiet = 0
    over = await anyio.to_thread.run_sync(is_over, record)  # before the last look
    now = await anyio.to_thread.run_sync(_now, record.run.now)
    yield format_sse_event(retry=2000)
    while not stopping():
        news = await anyio.to_thread.run_sync(tail.look)
        if news.anew:
            yield format_sse_event(event="reset", id="0", data_str="{}")
        for end, line in news.lines:
            name = "event" if "event" in line else "round"
            yield format_sse_event(event=name, id=str(end), data_str=json.dumps(finite(line)))
        if news.more:
            continue
        if over:
            yield format_sse_event(event="end", id=str(tail.offset), data_str="{}")
            return
        if (latest := await anyio.to_thread.run_sync(_now, record.run.now)) != now:
            now = latest
            yield format_sse_event(event="now", data_str=now)
        quiet = 0 if news.lines or news.anew else quiet + 1
        if quiet and quiet % _BREATH_EVERY == 0:
            yield format_sse_event(comment="still here")
        if quiet and quiet % _LOOKS_A_STATE == 0:
            over = await anyio.to_thread.run_sync(is_over, record)
        await anyio.sleep(_LOOK_EVERY)


def is_over(record: RunReader) -> bool:
    """Returns whether a run has finished or failed."""
    return state_of(record.view())[0] in ("finished", "failed")


def _now(path: Path) -> str:
    """Returns ``now.json`` as events carry it, in one line; ``null`` where it cannot be read."""
    try:
        return RoundStatus.model_validate_json(read_file(path, _LONGEST_NOW)).model_dump_json(by_alias=True)
    except (OSError, ValueError):
        return "null"
