"""How long a round waits for a client, and how that is said."""

import math
from collections.abc import Iterable
from statistics import median

_FEWEST_SECONDS = (
    240.0  # a SuperNode that died is taken back after up to 150 s (simulations/deployment/fedgan-supernode@.service)
)
_UNKNOWN_SECONDS = 3600.0
_TIMES = 5.0
_KEPT = 25  # answers of a client that its usual time is taken of


class Patience:
    """The time that clients have for a round's work: a fixed one, or one that suits what they usually take.

    Automatic: five times the median of what the client took so far, and never less than four minutes; an hour for one
    that has never answered, and where no client can get lost, as in a simulation. One that got lost before it ever
    answered has five times what the slowest of the others takes.

    Args:
        seconds: ``federation.round-seconds``; 0: automatic.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._fixed = seconds
        self._took: dict[int, list[float]] = {}
        self.can_lose = True
        """Whether the runtime has clients that can get lost."""

    def answered(self, partition: int, seconds: float) -> None:
        """Notes that a client has answered so long after it was asked."""
        self._took[partition] = [*self._took.get(partition, ())[-_KEPT + 1 :], seconds]

    def usual(self, partition: int) -> float | None:
        """Returns the seconds that a client usually takes; None before its first answer."""
        took = self._took.get(partition)
        return median(took) if took else None

    def of(self, partition: int, *, away: bool = False) -> float:
        """Returns the seconds that a client has, from the round's start on.

        Args:
            partition: The client.
            away: Whether its node is known to be lost.
        """
        if self._fixed:
            return self._fixed
        if not self.can_lose:
            return _UNKNOWN_SECONDS
        usual = self.usual(partition)
        if usual is None and away and self._took:
            usual = max(median(took) for took in self._took.values())
        return _UNKNOWN_SECONDS if usual is None else max(_FEWEST_SECONDS, _TIMES * usual)

    @property
    def knows(self) -> bool:
        """Whether it is known what a round takes."""
        return bool(self._fixed or self._took)

    def late(self, partition: int) -> str:
        """Returns why a client that is there and has not answered is left out."""
        if self._fixed:
            return f"no reply within federation.round-seconds={self._fixed:g}"
        usual = self.usual(partition)
        known = "it never answered before" if usual is None else f"it usually takes {duration(usual)}"
        return (
            f"no reply within {duration(self.of(partition))}, and {known} (federation.round-seconds sets another time)"
        )


def duration(seconds: float) -> str:
    """Returns a time in words: ``45 s``, ``4 min 10 s``, ``1 h 5 min``; in tens of seconds from a minute on."""
    whole = max(math.ceil(seconds), 0) if seconds < 59 else 10 * round(seconds / 10)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours:
        return f"{hours} h" + (f" {minutes} min" if minutes else "")
    if minutes:
        return f"{minutes} min" + (f" {rest} s" if rest else "")
    return f"{whole} s"


def listed(labels: Iterable[str], most: int = 10) -> str:
    """Returns labels in a row, the first ``most`` of them."""
    found = list(labels)
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if found[most:] else "")
