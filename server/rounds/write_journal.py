"""Writes each round to the journal, and says on the log that it is done."""

import logging
import time

from common.config import RunConfig
from common.hooks import Answer, Keep
from server.evaluation.scoring import Scoring
from server.records import journal
from server.records.journal import Scores
from server.records.notes import Notes
from server.records.time_left import SCORING, Pace, roughly
from server.rounds.base import KeptRound

log = logging.getLogger("fedgan.server")


class WriteLine:
    """Writes the line of a round, which is done from then on, and what is new to say beside it.

    Made when training begins, as it tells how long the rounds take.

    Args:
        config: The run's.
        rounds: What the journal says of rounds, through which it is written.
        notes: What it says beside them.
        scoring: Says why metrics are not computed.
        engine: How clients are trained, where it costs bits; else empty.
    """

    def __init__(self, config: RunConfig, rounds: Scores, notes: Notes, scoring: Scoring, engine: str) -> None:
        self._num_rounds = config.federation.num_rounds
        self._losses = config.objective_component.losses()
        self._rounds, self._notes, self._scoring, self._engine = rounds, notes, scoring, engine
        self._pace = Pace(config)

    def after(self, round: KeptRound) -> Answer:
        """Writes the round's line and makes it last."""
        seconds = time.perf_counter() - round.since
        round.line["seconds"][SCORING] = seconds
        if self._engine:
            self._notes.add("engine", round.number - 1, self._engine)
            self._engine = ""
        self._rounds.append(round.line)
        round.in_journal = True
        self._log(round, seconds)
        self._notes.add_new("not-scored", round.number, self._scoring.reasons)
        return Keep()

    def _log(self, round: KeptRound, seconds: float) -> None:
        self._pace.add(round.number, seconds)
        left = self._pace.left()
        words = journal.describe(round.line, self._num_rounds, self._losses)
        log.info("%s", f"{words}  {roughly(left)} left" if left else words, extra={"line": round.line})
        if estimate := self._pace.estimate():
            log.info("%s", estimate)
