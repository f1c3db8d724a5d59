"""The latest answer about each run, kept until its record changes: windows that request the same share one."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from simulations.runs.run_reader import RunReader
from simulations.runs.run_view import View

T = TypeVar("T")

_AT_WORK = 0.9  # seconds that it holds for a run at work, of which time alone changes what is left
_AT_REST = 60.0  # for one that has finished


@dataclass
class _Last(Generic[T]):
    """What was last said of a run, of which record, and when."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    view: View | None = None
    since: float = 0.0
    said: T | None = None


class Recent(Generic[T]):
    """Says what there is to say of a run, anew only where its record has changed, or after a while.

    Args:
        say: Reads a run, which may take as long as a pass through a generator.
        clock: Seconds.
    """

    def __init__(self, say: Callable[[RunReader], T], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._last: WeakKeyDictionary[RunReader, _Last[T]] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def of(self, record: RunReader) -> T:
        """Returns what is said of a run; of several callers at once the first one has it made."""
        with self._lock:
            last = self._last.setdefault(record, _Last())
        with last.lock:
            try:
                view = record.view()
            except Exception:  # nobody has foreseen it; ``say`` tells
                return self._say(record)
            until = last.since + (_AT_REST if view.summary and view.at_work is False else _AT_WORK)
            if last.said is None or view != last.view or self._clock() >= until:
                last.view, last.since, last.said = view, self._clock(), self._say(record)
            return last.said
