"""When a run has gone wrong or far enough, and which of its rounds was the last good one; from the journal alone."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from common.journal_lines import ScoredRound
from common.metrics import table

Line = TypeVar("Line", bound=ScoredRound)


def quality(scores: Mapping[str, Any]) -> float | None:
    """Returns what rounds are compared by, lower is better: the first score of the table that selects rounds.

    None if a round has none of them.
    """
    name = table.selecting(scores)
    found = scores[name] if name else None
    return float(found) if found is not None else None


def compared_by(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the score that a round is compared by, under its name; empty if it has none."""
    name = table.selecting(scores)
    return {name: scores[name]} if name else {}


def best(lines: Sequence[Line]) -> Line | None:
    """Returns the line of the round of the best ``quality``, the first of equals; None if no round has one."""
    scored = [(value, line) for line in lines if (value := quality(line["scores"])) is not None]
    return min(scored, key=lambda pair: pair[0])[1] if scored else None


def fault(scores: Mapping[str, Any], lines: Sequence[ScoredRound], ratio: float) -> str | None:
    """Returns in words why a generator is not to be kept; None if it is.

    Args:
        scores: Its own.
        lines: The rounds before.
        ratio: How many times worse than the best it may be; 0: any.
    """
    known = best(lines)
    lowest = quality(known["scores"]) if known else None
    name, value = table.selecting(scores), quality(scores)
    if not ratio or known is None or lowest is None or name is None or value is None:
        return None
    if value <= _limit(name, lowest, ratio):
        return None
    best_known = f"the best, {lowest:.3g} of round {known['round']}"
    if table.scores()[name].is_log2:
        more = f"{math.log2(ratio):.3g} (the logarithm of guard.ratio={ratio:g} to base 2) above"
        return f"{name} {value:.3g} is more than {more} {best_known}"
    return f"{name} {value:.3g} is more than guard.ratio={ratio:g} times {best_known}"


def _limit(name: str, lowest: float, ratio: float) -> float:
    """Returns the value of a score that is ``ratio`` times worse than ``lowest``.

    Bits a character are compared by perplexity, 2 to their power: that of no model of text is 5 times another's bits.
    """
    return lowest + math.log2(ratio) if table.scores()[name].is_log2 else ratio * lowest


def stalled(lines: Sequence[ScoredRound], patience: int) -> str | None:
    """Returns in words why a run need not go on; None if it should.

    Args:
        lines: Its rounds.
        patience: Scored rounds after the best one that are enough, at least 1.
    """
    known = best(lines)
    if known is None:
        return None
    since = sum(quality(line["scores"]) is not None for line in lines[lines.index(known) + 1 :])
    if since < patience:
        return None
    return (
        f"{table.selecting(known['scores'])} has not fallen below {quality(known['scores']):.3g}, that of round "
        f"{known['round']}, in {since} scored rounds (federation.patience={patience})"
    )


def last_good(lines: Sequence[ScoredRound], ratio: float) -> int:
    """Returns the last scored round without a fault; 0 if there is none."""
    good, lowest = 0, math.inf
    for line in lines:
        name, value = table.selecting(line["scores"]), quality(line["scores"])
        if name is not None and value is not None:
            if not ratio or value <= _limit(name, lowest, ratio):
                good = line["round"]
            lowest = min(lowest, value)
    return good
