"""When a run has gone wrong, and which of its rounds was the last good one. Read from the journal alone."""

from collections.abc import Sequence

from server.journal import Line


def best(lines: Sequence[Line]) -> Line | None:
    """Returns the line of the round with the lowest fid, the first of equals; None if no round has one."""
    scored = [line for line in lines if "fid" in line["scores"]]
    return min(scored, key=lambda line: line["scores"]["fid"], default=None)


def fault(fid: float, lines: Sequence[Line], ratio: float) -> str | None:
    """Returns in words why a generator is not to be kept; None if it is.

    Args:
        fid: Its score.
        lines: The rounds before.
        ratio: How many times worse than the best it may be; 0: any.
    """
    known = best(lines)
    if not ratio or known is None or fid <= ratio * known["scores"]["fid"]:
        return None
    return (
        f"fid {fid:.3g} is more than guard.ratio={ratio:g} times the best, {known['scores']['fid']:.3g} of round "
        f"{known['round']}"
    )


def last_good(lines: Sequence[Line], ratio: float) -> int:
    """Returns the last scored round without a fault; 0 if there is none."""
    good = 0
    for index, line in enumerate(lines):
        if "fid" in line["scores"] and fault(line["scores"]["fid"], lines[:index], ratio) is None:
            good = line["round"]
    return good
