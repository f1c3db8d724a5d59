"""After which rounds a checkpoint is saved. What it contains is decided in ``server/checkpoint.py``."""

from typing import Protocol

from common.config import RunConfig
from common.hooks import Answer, Keep
from server.records.time_left import is_scored
from server.rounds.base import KeptRound, Snapshot


class Save(Protocol):
    """Has a checkpoint written, and drops those that are no longer needed; see ``server.recovery.Recovery.save``."""

    def __call__(self, snapshot: Snapshot, *, scored: bool) -> None:
        """Returns at once where the checkpoint is written beside the rounds to come."""


class CheckpointSchedule:
    """Has a checkpoint written of each scored round, and every ``output.checkpoint-every`` rounds.

    Args:
        config: The run's.
        save: Has one written.
    """

    def __init__(self, config: RunConfig, save: Save) -> None:
        self._config, self._save = config, save

    def after(self, round: KeptRound) -> Answer:
        """Saves the round if it is due."""
        scored = is_scored(self._config, round.number)
        if scored or round.number % self._config.output.checkpoint_every == 0:
            self._save(round.snapshot, scored=scored)
        return Keep()
