"""After which rounds a checkpoint is saved. What it contains is decided in ``server/checkpoint.py``."""

from collections.abc import Callable

from common.config import RunConfig
from common.hooks import Answer, Keep
from server.records.time_left import is_scored
from server.rounds.base import KeptRound, Snapshot


class CheckpointSchedule:
    """Has a checkpoint written of each scored round, and every ``output.checkpoint-every`` rounds.

    Args:
        config: The run's.
        save: Writes one, and drops those that are no longer needed.
    """

    def __init__(self, config: RunConfig, save: Callable[[Snapshot], None]) -> None:
        self._config, self._save = config, save

    def after(self, round: KeptRound) -> Answer:
        """Saves the round if it is due."""
        if is_scored(self._config, round.number) or round.number % self._config.output.checkpoint_every == 0:
            self._save(round.snapshot)
        return Keep()
