"""What a run directory says at one moment: configuration, journal, summary, and what its clients do now."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common import components
from common.config import RunConfig, Scalar
from common.errors import ConfigError
from common.journal_lines import EventLine, JournalLine, RoundLine
from common.objectives import OBJECTIVES, Objective
from simulations.runs.journal_columns import Columns
from simulations.runs.round_status import RoundStatus


@dataclass(frozen=True)
class View:
    """A run at one moment.

    Attributes:
        name: In addresses.
        config: The run's; None if its file is torn or of another version, and ``problem`` says why.
        settings: By dotted key what the configuration says, also where it as a whole cannot be used; empty if nothing.
        journal: All lines, as they were written.
        lines: Of its rounds, in order.
        columns: Their figures by client, a value a round.
        events: What happened beside them; see ``docs/reliability.md``.
        roster: ``partition.json``: who holds what; empty before the clients have answered.
        summary: ``summary.json`` of a finished run, with the scores of ``audit.json``; else empty.
        now: ``now.json``: what clients do in the round that is under way; None where it is not known.
        sample_rounds: Rounds with samples.
        samples_are_text: Whether the latest of them are text, and no picture.
        checkpoint_rounds: Rounds with a checkpoint.
        at_work: Whether a process holds the run's lock; None where the system does not tell.
        began: When the process that holds or held the lock took it, in seconds since 1970; None if none did.
        roster_at: When the clients had answered; None if they have not.
        updated: When the record last changed.
        unreadable: Lines of the journal that cannot be read.
        cuts: How often the journal was cut or replaced since it was first looked at.
        problem: Why the configuration cannot be used.
        problems: Of each file that cannot be read, or not in full: its name, and why; that of the configuration first.
    """

    name: str
    config: RunConfig | None
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    journal: list[JournalLine] = field(default_factory=list)
    lines: list[RoundLine] = field(default_factory=list)
    columns: Columns = field(default_factory=Columns)
    events: list[EventLine] = field(default_factory=list)
    roster: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    now: RoundStatus | None = None
    sample_rounds: list[int] = field(default_factory=list)
    samples_are_text: bool = False
    checkpoint_rounds: list[int] = field(default_factory=list)
    at_work: bool | None = None
    began: float | None = None
    roster_at: float | None = None
    updated: float = 0.0
    unreadable: int = 0
    cuts: int = 0
    problem: str = ""
    problems: list[str] = field(default_factory=list)

    @property
    def classes(self) -> int:
        """The number of classes; 0 before it is known."""
        return int(self.roster.get("shape", {}).get("num-classes", 0))

    @property
    def rounds(self) -> int | None:
        """How many rounds the run is to have; None if its configuration does not tell."""
        return self.number("federation.num-rounds")

    @property
    def clients(self) -> int | None:
        """How many clients there are, by configuration, roster or journal; None if none of them tells."""
        known = self.number("federation.num-clients") or len(self.roster.get("clients", ()))
        return known or len(self.columns.trained) or None

    def number(self, key: str) -> int | None:
        """Returns a whole number of the configuration; None where it has none."""
        value = self.settings.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63 else None

    def text(self, key: str) -> str | None:
        """Returns a text of the configuration; None where it has none."""
        value = self.settings.get(key)
        return value if isinstance(value, str) else None

    @property
    def objective(self) -> Objective | None:
        """What training minimises; None if this version does not know it."""
        try:
            return components.parse("objective", OBJECTIVES, self.text("objective") or "")
        except ConfigError:
            return None

    @property
    def last_round(self) -> int:
        """The last round that is done."""
        return self.lines[-1]["round"] if self.lines else 0
