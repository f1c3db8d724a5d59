"""Rows of a table: a label, and what a row changes in the settings that all rows share."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from common.algorithms import ALGORITHMS
from common.config import Scalar
from common.errors import ConfigError

Kind = Literal["centralised", "algorithm", "row", "variant", "local-only", "alone"]

_KINDS: tuple[Kind, ...] = ("centralised", "algorithm", "row", "variant", "local-only", "alone")
_LONGEST = 120  # characters of a folder's name


@dataclass(frozen=True)
class Entry:
    """One row of a table.

    Attributes:
        label: Its name, and that of its folder (``slug``).
        kind: Baselines stand first and last.
        overrides: What it changes in what all rows share, by dotted key.
        note: Said below the table.
        place: Among rows of a study, which stand in the order of its file.
    """

    label: str
    kind: Kind
    overrides: Mapping[str, Scalar]
    note: str = ""
    place: int = 0

    @property
    def slug(self) -> str:
        """The label as the name of a folder, shortened where it is longer than one may be."""
        name = re.sub(r"[^A-Za-z0-9.=-]+", "_", self.label)
        if len(name) <= _LONGEST:
            return name
        return f"{name[: _LONGEST - 9]}-{hashlib.sha256(self.label.encode()).hexdigest()[:8]}"

    @property
    def rank(self) -> tuple[int, int, str]:
        """Where the row stands: centralised, algorithms as their table lists them, variants by name, local-only."""
        if self.kind == "row":
            return _KINDS.index(self.kind), self.place, self.label
        name = self.label.partition(" ")[0]
        order = list(ALGORITHMS).index(name) if self.kind == "algorithm" and name in ALGORITHMS else len(ALGORITHMS)
        return _KINDS.index(self.kind), order, self.label


def written(values: Mapping[str, Scalar]) -> str:
    """Returns settings as ``-c`` takes them."""
    shown = {key: f'"{v}"' if isinstance(v, str) else str(v).lower() for key, v in values.items()}
    return " ".join(f"{key}={value}" for key, value in shown.items())


def check_distinct(entries: Sequence[Entry]) -> None:
    """Checks that each row has a folder of its own.

    Raises:
        ConfigError: Two with one name.
    """
    seen: dict[str, str] = {}
    for entry in entries:
        if entry.slug in seen:
            raise ConfigError(f"{entry.label!r} and {seen[entry.slug]!r} would share a folder: rename one of them")
        seen[entry.slug] = entry.label
