"""What a run notes in its journal beside its rounds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from server.records import journal


class Notes:
    """The events of a run, some of which are noted once, however often it goes on.

    Args:
        path: The journal, as it is when the run goes on.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reasons = {event["reason"] for event in journal.events(path)}

    def add(self, event: str, round: int, reason: str, refused: Sequence[Mapping[str, Any]] = ()) -> None:
        """Notes an event, see ``journal.note``."""
        journal.note(self._path, event, round, reason, refused)

    def add_once(self, event: str, round: int, reason: str) -> None:
        """Notes an event unless one with the same reason is in the journal."""
        if reason not in self._reasons:
            self.add(event, round, reason)
            self._reasons.add(reason)
