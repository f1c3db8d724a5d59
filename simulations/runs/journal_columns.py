"""Figures of a journal as columns, a value a round, kept up as its lines come: at each look only the new ones count."""

from dataclasses import dataclass, field
from math import isfinite

from common.journal_lines import RoundLine, figures_of
from server.records.curves import averaged
from server.records.journal import mean_of

Column = list[float | None]


@dataclass
class Columns:
    """Figures of clients and their means; None where a round has none, or one that is not finite.

    Attributes:
        rounds: How many.
        means: Of each figure of their training that clients tell in any round.
        clients: By partition, each figure that the client told in any round.
        trained: By partition, the places of the rounds that it trained in.
    """

    rounds: int = 0
    means: dict[str, Column] = field(default_factory=dict)
    clients: dict[int, dict[str, Column]] = field(default_factory=dict)
    trained: dict[int, list[int]] = field(default_factory=dict)

    def add(self, line: RoundLine) -> None:
        """Adds a round."""
        for key in averaged(line):
            if (mean := mean_of(line, key)) is not None:
                self._put(self.means, key, mean)
        for client in line["clients"]:
            self.trained.setdefault(client["partition"], []).append(self.rounds)
            own = self.clients.setdefault(client["partition"], {})
            for key, value in figures_of(client).items():
                self._put(own, key, value)
        self.rounds += 1

    def _put(self, columns: dict[str, Column], key: str, value: float) -> None:
        column = columns.setdefault(key, [])
        column += [None] * (self.rounds - len(column))
        column.append(value if isfinite(value) else None)

    def copy(self) -> "Columns":
        """Returns the columns of now, all of the same length."""

        def whole(columns: dict[str, Column]) -> dict[str, Column]:
            return {key: column + [None] * (self.rounds - len(column)) for key, column in sorted(columns.items())}

        clients = {k: whole(columns) for k, columns in self.clients.items()}
        return Columns(self.rounds, whole(self.means), clients, {k: list(at) for k, at in self.trained.items()})
