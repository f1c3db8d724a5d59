"""What one round did, and what a run needs to go on after it."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable

from common.algorithms import ServerState
from common.hooks import Answer, FinishedRound
from common.journal_lines import ClientLine, MaskLine, OfSomeRounds, RefusedLine, RoundLine
from common.tree import Tree
from server.clients.roster import one_line

log = logging.getLogger("fedgan.server")

ClientStates = Mapping[int, Mapping[str, Tree]]
"""What simulated clients keep between rounds, by partition and name."""

Row = TypeVar("Row", ClientLine, RefusedLine, dict[str, Any])


@dataclass
class RoundRecord:
    """What one round did; becomes a line of the journal."""

    round: int
    cohort: list[int]
    clients: list[ClientLine] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    bytes_down: int = 0
    bytes_up: int = 0
    masks: MaskLine | None = None

    def line(self, examples_seen: int, names: Mapping[int, str], transforms: Sequence[str]) -> RoundLine:
        """Returns the line of the journal that the round becomes, before it is scored.

        Args:
            examples_seen: Real examples that clients have trained on so far.
            names: Of clients that have one, by partition.
            transforms: What was done to updates on their way.
        """
        some: OfSomeRounds = {"transforms": list(transforms)} if transforms else {}
        if self.masks is not None:
            some["masks"] = self.masks
        return {
            "round": self.round,
            "examples-seen": examples_seen,
            "seconds": dict(self.seconds),
            "bytes-down": self.bytes_down,
            "bytes-up": self.bytes_up,
            **some,
            "clients": named(self.clients, names),
            "refused": self.refusals(names),
            "scores": {},
        }

    def leave_out(self, partition: int, reason: str, label: str) -> None:
        """Notes, and logs, why a client is not part of the round; ``label`` is how the log names it."""
        reason = self.refused[partition] = one_line(reason)
        log.warning("round %d: %s is left out: %s", self.round, label, reason)

    def refusals(self, names: Mapping[int, str]) -> list[RefusedLine]:
        """Returns who was left out, and why."""
        rows: list[RefusedLine] = [{"partition": k, "reason": reason} for k, reason in self.refused.items()]
        return named(rows, names)


@dataclass(frozen=True)
class Snapshot:
    """A round that is done: everything a run needs to go on from here.

    Attributes:
        state: The server's.
        clients: What simulated clients keep.
        examples_seen: Real examples that clients have trained on so far, counted each time.
        memory_rounds: The round in which each client was last heard, by partition: that of the memory which it goes on
            from. Clients that were not heard yet are left out.
        rollbacks: How often the run has gone back to an earlier round.
        releases: Lines that the ledger of privacy had by then.
        run: Identifies the run, also when it goes on under another run id of Flower's; a hexadecimal number.
    """

    state: ServerState
    clients: ClientStates = field(default_factory=dict)
    examples_seen: int = 0
    memory_rounds: Mapping[int, int] = field(default_factory=dict)
    rollbacks: int = 0
    run: str = "0"
    releases: int = 0


@dataclass(kw_only=True)
class KeptRound(FinishedRound):
    """A finished round, with what the server's own hooks need to keep it.

    Attributes:
        snapshot: What the run goes on from if the round is kept.
        since: When it was finished, on ``time.perf_counter``.
        in_journal: Whether its line is written: from then on it is done, and is not done again.
    """

    snapshot: Snapshot
    since: float
    in_journal: bool = False


class Hook(Protocol):
    """What ``common.hooks.RoundHook`` and the server's own hooks have in common."""

    def after(self, round: KeptRound) -> Answer:
        """Returns what is to become of a finished round, and of the run."""


@runtime_checkable
class BringsHooks(Protocol):
    """A grid of whoever has the whole run in one process, and looks at its rounds there.

    Attributes:
        hooks: Look at each finished round, after those of the configuration. They are given again when a run goes on.
    """

    hooks: Sequence[Hook]


def named(rows: Iterable[Row], names: Mapping[int, str]) -> list[Row]:
    """Returns copies of rows on clients with ``site`` beside ``partition`` for those that have a name."""
    found = [row.copy() for row in rows]
    for row in found:
        if row["partition"] in names:
            row["site"] = names[row["partition"]]
    return found
