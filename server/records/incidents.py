"""What went wrong in a run, from its journal."""

from collections.abc import Sequence

from common.journal_lines import Event, EventLine, RefusedLine, RoundLine

_REMARKS = ("engine", "not-scored", "features")
"""Events that are no trouble: what a run is done with."""


def incidents(lines: Sequence[RoundLine], events: Sequence[EventLine]) -> list[tuple[int, str, str]]:
    """Returns what went wrong as (round, what, why), by round: clients left out, rounds repeated, going back, stops."""
    wrong = [event for event in events if event["event"] not in _REMARKS]
    rows = [(event["round"], event["event"].replace("-", " "), event["reason"]) for event in wrong]
    rows += [(ln["round"], f"{_called(r)} left out", r["reason"]) for ln in lines for r in ln["refused"]]
    return sorted(rows, key=lambda row: row[0])


def reasons(events: Sequence[EventLine], event: Event) -> list[str]:
    """Returns the reasons of all events of one kind, in order, each once."""
    return list(dict.fromkeys(line["reason"] for line in events if line["event"] == event))


def _called(refusal: RefusedLine) -> str:
    client = f"client {refusal['partition']}"
    return f"{refusal['site']} ({client})" if refusal.get("site") else client
