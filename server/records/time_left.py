"""How long a run will go on, by the rounds that it has done: said on the log, and shown on the page."""

import statistics
import time
from collections import deque
from collections.abc import Collection, Sequence

from common.config import RunConfig
from common.journal_lines import RoundLine

_RECENT = 10  # rounds that tell the time of the next
SCORING = "evaluate"
"""What scoring and drawing took, among the seconds of a line of the journal."""
_LONG = 60.0  # seconds from which it is worth a line of its own


def is_scored(config: RunConfig, round: int) -> bool:
    """Returns whether a round is to be scored."""
    every = config.evaluation.every
    return round == config.federation.num_rounds or (every > 0 and (round == 1 or round % every == 0))


def num_scored(config: RunConfig, done: int) -> int:
    """Returns how many of the rounds after ``done`` are to be scored, without a look at each: there may be millions."""
    every, last = config.evaluation.every, config.federation.num_rounds
    if done >= last:
        return 0
    if every <= 0:
        return 1
    multiples = last // every - done // every
    first = every > 1 and done < 1 < last
    return multiples + first + (last % every != 0)


def seconds_left(config: RunConfig, done: int, rounds: Collection[float], scoring: Collection[float]) -> float:
    """Returns the seconds from the end of a round to that of the last; the final scores come on top of it.

    Args:
        config: The run's.
        done: The round.
        rounds: Seconds that each of the rounds before took, without scoring and drawing; not empty.
        scoring: Seconds that scoring and drawing took in those of them that were scored.
    """
    each_scoring = statistics.median(scoring) if scoring else 0.0
    return (config.federation.num_rounds - done) * statistics.median(rounds) + num_scored(config, done) * each_scoring


def seconds_left_after(config: RunConfig, lines: Sequence[RoundLine]) -> float:
    """Returns ``seconds_left`` after the last of some lines of a journal; there is one at least."""
    recent = lines[-_RECENT:]
    scoring = [line["seconds"].get(SCORING, 0.0) for line in recent if is_scored(config, line["round"])]
    rounds = [sum(line["seconds"].values()) - line["seconds"].get(SCORING, 0.0) for line in recent]
    return seconds_left(config, lines[-1]["round"], rounds, scoring)


class Pace:
    """The pace of the rounds that this process does, by the clock.

    Args:
        config: The run's.
    """

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._rounds: deque[float] = deque(maxlen=_RECENT)
        self._scoring: deque[float] = deque(maxlen=_RECENT)
        self._done = 0
        self._since = time.perf_counter()

    def add(self, round: int, evaluate: float) -> None:
        """Notes that a round is done, of which scoring and drawing took ``evaluate`` seconds."""
        now = time.perf_counter()
        self._rounds.append(max(0.0, now - self._since - evaluate))
        if is_scored(self._config, round):
            self._scoring.append(evaluate)
        self._since, self._done = now, round

    def left(self) -> float:
        """Returns the seconds to the end of the last round; the final scores come on top of it."""
        return seconds_left(self._config, self._done, self._rounds, self._scoring)

    def estimate(self) -> str | None:
        """Returns, after the first of these rounds, how long those that are left will take; None if not for long."""
        left, rounds = self.left(), self._config.federation.num_rounds - self._done
        if len(self._rounds) != 1 or left < _LONG:
            return None
        each = f" at {roughly(left / rounds)} a round" if rounds > 1 else ""
        return f"about {roughly(left)} for the {rounds} round{'s' * (rounds > 1)} left{each}, and the final scores"


def roughly(seconds: float) -> str:
    """Returns a time to two digits or so, as an estimate is said: ``8 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(minutes / 60)
    return f"{hours // 24} d {hours % 24} h"
