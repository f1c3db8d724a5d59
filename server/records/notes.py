"""What a run notes in its journal beside its rounds."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from common.journal_lines import Event, RefusedLine
from server.records import journal


class Notes:
    """The events of a run, some of which are noted once, however often it goes on.

    Args:
        path: The journal, as it is when the run goes on.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reasons = {event["reason"] for event in journal.events(path)}

    def add(self, event: Event, round: int, reason: str, refused: Sequence[RefusedLine] = ()) -> None:
        """Notes an event, see ``journal.note``."""
        journal.note(self._path, event, round, reason, refused)

    def add_new(self, event: Event, round: int, reasons: Iterable[str]) -> None:
        """Notes an event for each of the reasons that is not in the journal yet."""
        for reason in reasons:
            if reason not in self._reasons:
                self.add(event, round, reason)
                self._reasons.add(reason)
