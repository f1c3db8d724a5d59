"""Types of the lines of a run's journal: what the server writes, hooks see, and whoever shows a run reads.

They say what every line has once ``server/records/run_files.py`` has read it. Lines are plain dictionaries, and those
of newer versions may have other keys, events and scores, which are kept.
"""

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict, TypeGuard

Event = Literal[
    "resumed",
    "engine",
    "round-repeated",
    "rollback",
    "diverged",
    "early-stop",
    "training-sign",
    "stopped",
    "not-scored",
    "features",
    "compressed",
]
"""What this version notes beside the rounds; see ``docs/reliability.md``."""

ClientLine = TypedDict(
    "ClientLine",
    {
        "partition": int,
        "num-examples": int,
        "site": NotRequired[str],
        "examples": NotRequired[float],
        "seconds": NotRequired[float],
        "drift": NotRequired[float],
    },
)
"""A client in a round. Beside these it has the figures of its training by their names, see ``figures_of``."""


class RefusedLine(TypedDict):
    """A client that was left out, and why."""

    partition: int
    reason: str
    site: NotRequired[str]


ScoredWith = TypedDict("ScoredWith", {"extractor": str | None, "num-samples": int | None, "warning": NotRequired[str]})
"""What scores were computed with. Metrics with examples of their own have ``NAME-num-samples`` beside it."""


class ScoredRound(TypedDict):
    """What rounds are compared by; the table of metrics says which form each score has."""

    round: int
    scores: dict[str, Any]


_OfAllRounds = TypedDict(
    "_OfAllRounds",
    {
        "examples-seen": int,
        "seconds": dict[str, float],
        "bytes-down": int,
        "bytes-up": int,
        "clients": list[ClientLine],
        "refused": list[RefusedLine],
    },
)


class PrivacyLine(TypedDict):
    """What a private run has spent after a round: the largest epsilon of a client."""

    epsilon: float


MaskLine = TypedDict(
    "MaskLine", {"seconds": float, "bytes-down": int, "bytes-up": int, "dropped": dict[str, list[RefusedLine]]}
)
"""What secure aggregation took beside a round's training, and who dropped out in which of its steps."""

OfSomeRounds = TypedDict(
    "OfSomeRounds",
    {"transforms": list[str], "scored-with": ScoredWith, "privacy": PrivacyLine, "masks": MaskLine},
    total=False,
)
"""What only some rounds have: transforms of updates, scores, what a private run has spent, and masks."""


class RoundLine(ScoredRound, _OfAllRounds, OfSomeRounds):
    """A round."""


class EventLine(TypedDict):
    """Something that happened beside the rounds: an ``Event``, or one of another version."""

    event: str
    round: int
    reason: str
    refused: NotRequired[list[RefusedLine]]


JournalLine = RoundLine | EventLine

_NO_FIGURES = ("partition", "num-examples", "site")
_NUMBERS = (float, int)


def is_event(line: JournalLine) -> TypeGuard[EventLine]:
    """Returns whether a line is that of an event."""
    return "event" in line


def is_round(line: JournalLine) -> TypeGuard[RoundLine]:
    """Returns whether a line is that of a round."""
    return "event" not in line


def figure_of(client: ClientLine, name: str) -> float | None:
    """Returns a figure of a client's training; None if it has none of that name."""
    value = client.get(name)
    return value if isinstance(value, _NUMBERS) else None


def figures_of(client: ClientLine) -> dict[str, float]:
    """Returns the figures of a client's training by name, such as its losses, ``seconds`` and ``drift``."""
    rows: Mapping[str, object] = client
    return {key: value for key, value in rows.items() if isinstance(value, _NUMBERS) and key not in _NO_FIGURES}
