"""What a tracker has of a run, on disk: so that nothing is sent twice, and what has changed is noticed."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from common.files import write_atomically
from common.journal_lines import RoundLine

_DIGITS = 16


@dataclass
class SyncState:
    """What a tracker has.

    Attributes:
        identity: What the tracker calls the run; empty: it has none of it.
        rounds: A digest of what each round was when it was sent.
        end: A digest of the end that was sent; empty: none was.
    """

    identity: str = ""
    rounds: dict[int, str] = field(default_factory=dict)
    end: str = ""

    @classmethod
    def read(cls, path: Path) -> "SyncState":
        """Returns what an earlier process wrote; nothing where there is no file, or none that can be read."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            rounds = {int(round): str(digest) for round, digest in found["rounds"].items()}
            return cls(str(found["identity"]), rounds, str(found["end"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def write(self, path: Path) -> None:
        """Writes it for the next process."""
        write_atomically(path, json.dumps(asdict(self)).encode())

    @property
    def last(self) -> int:
        """The last round that was sent; 0: none."""
        return max(self.rounds, default=0)

    def agreed(self, lines: Mapping[int, RoundLine]) -> int:
        """Returns the last round up to which what was sent is still what the journal says; 0: none."""
        kept = 0
        for round in sorted(self.rounds):
            if round not in lines or digest(lines[round]) != self.rounds[round]:
                break
            kept = round
        return kept

    def keep(self, last: int) -> None:
        """Forgets the rounds after ``last``, and the end."""
        self.rounds = {round: sent for round, sent in self.rounds.items() if round <= last}
        self.end = ""


def digest(line: object) -> str:
    """Returns a digest of something that JSON can hold."""
    return hashlib.sha256(json.dumps(line, sort_keys=True).encode()).hexdigest()[:_DIGITS]
