"""Says when the losses of the latest rounds show that training goes wrong, such as a dead discriminator."""

import logging
from collections import deque
from collections.abc import Iterable, Mapping

from common.config import RunConfig
from common.hooks import Answer, FinishedRound, Keep
from common.journal_lines import RoundLine
from server.records.curves import averaged
from server.records.journal import mean_of
from server.records.notes import Notes

NUM_ROUNDS = 5
"""Rounds that must all show a sign."""

log = logging.getLogger("fedgan.server")


def means_of(line: RoundLine) -> dict[str, float]:
    """Returns the means over clients of a round's losses and diagnostics, by name."""
    return {key: mean for key in averaged(line) if (mean := mean_of(line, key)) is not None}


class TrainingSigns:
    """Notes a sign of the objective's (``Objective.trouble``) when it begins: in the journal and in the log.

    Args:
        config: The run's.
        notes: Of the run's journal.
        earlier: The rounds before, of which the last count.
    """

    def __init__(self, config: RunConfig, notes: Notes, earlier: Iterable[RoundLine]) -> None:
        self._objective, self._notes = config.objective_component, notes
        self._recent: deque[Mapping[str, float]] = deque(map(means_of, list(earlier)[-NUM_ROUNDS:]), NUM_ROUNDS)
        self._is_said, self._last = self._sign() is not None, 0

    def after(self, round: FinishedRound) -> Answer:
        """Looks at the latest rounds."""
        if round.number <= self._last:  # the run has gone back
            self._recent.clear()
        self._last = round.number
        self._recent.append(means_of(round.line))
        sign = self._sign()
        if sign and not self._is_said:
            log.warning("round %d: %s", round.number, sign)
            self._notes.add("training-sign", round.number, sign)
        self._is_said = sign is not None
        return Keep()

    def _sign(self) -> str | None:
        return self._objective.trouble(list(self._recent)) if len(self._recent) == NUM_ROUNDS else None
