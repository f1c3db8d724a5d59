"""Says, while a round waits, for which clients, how much longer, and what then; seldom enough to be read."""

import logging
import time
from collections.abc import Callable, Collection

from server.clients.deadlines import Patience, duration, listed

log = logging.getLogger("fedgan.server")

_AGAIN_SECONDS, _LONGEST_SECONDS = 30.0, 600.0
_LATE_SECONDS = 60.0  # a client is called late no sooner
_LATE_UNKNOWN_SECONDS = 300.0  # likewise, if nobody knows what it usually takes
_LATE_TIMES = 2.0


class Seldom:
    """Logs a line where it has something new, and the same again after half a minute, a minute, two, and so on."""

    def __init__(self) -> None:
        self._seconds = _AGAIN_SECONDS
        self._said: object = None
        self._when = 0.0

    def __call__(self, news: object, text: Callable[[], str]) -> None:
        """Logs ``text()`` if ``news`` is other than the last time, or that is long ago."""
        now = time.monotonic()
        if news != self._said:
            self._seconds = _AGAIN_SECONDS
        elif now - self._when < self._seconds:
            return
        else:
            self._seconds = min(2 * self._seconds, _LONGEST_SECONDS)
        self._said, self._when = news, now
        log.info("%s", text())


class Waiting:
    """One round's, or one question's.

    Args:
        what: Which, at the beginning of a line: ``round 3``.
        patience: How long clients are waited for.
        label: How a client is called.
        num: Clients that were asked.
        least: Replies without which the round fails; 0: a question, which does without any.
    """

    def __init__(self, what: str, patience: Patience, label: Callable[[int], str], num: int, least: int) -> None:
        self._what, self._patience, self._label = what, patience, label
        self._num, self._least = num, least
        self._say_away, self._say_late = Seldom(), Seldom()

    def say(self, waited: float, away: Collection[int], working: Collection[int], num_replies: int) -> None:
        """Says what there is to say now.

        Args:
            waited: Seconds since the clients were asked.
            away: Clients whose node is lost, and is waited for.
            working: Clients that are there and have not answered.
            num_replies: Usable replies of the others.
        """
        late = [k for k in working if waited > self._late_after(k)]
        if away:
            others = num_replies + len(working)
            self._say_away(sorted(away), lambda: self._words("away", waited, away, others))
        if late:
            others = num_replies + len(working) - len(late)
            self._say_late(sorted(late), lambda: self._words("late", waited, late, others))

    def _late_after(self, partition: int) -> float:
        usual = self._patience.usual(partition)
        return _LATE_UNKNOWN_SECONDS if usual is None else max(_LATE_SECONDS, _LATE_TIMES * usual)

    def _words(self, how: str, waited: float, clients: Collection[int], others: int) -> str:
        names = listed(self._label(k) for k in sorted(clients))
        verb = "is" if len(clients) == 1 else "are"
        left = max(self._patience.of(k, away=how == "away") for k in clients) - waited
        state = f"{verb} away" if how == "away" else f"{verb} late, after {duration(waited)}"
        known = "" if self._patience.knows or how == "late" else " (less once others have answered)"
        wait = f"waiting up to {duration(left)} more{known}, then " if left > 0 else ""
        return f"{self._what}: {names} {state}; {wait}{self._then(others)}"

    def _then(self, others: int) -> str:
        if not self._least:
            return f"it goes on with the other {others}"
        if others >= self._least:
            return f"the round goes on with the other {others}"
        return f"the round fails: {others} of {self._num} can reply, and it needs {self._least}"
