"""Ends a run that no longer becomes better."""

from common.config import RunConfig
from common.hooks import Answer, FinishedRound, Keep, Stop
from server.records import model_selection


class Patience:
    """Ends the run after ``federation.patience`` scored rounds that were no better than the best before them.

    Args:
        config: The run's.
    """

    def __init__(self, config: RunConfig) -> None:
        self._patience = config.federation.patience

    def after(self, round: FinishedRound) -> Answer:
        """Counts the scored rounds since the best one."""
        why = model_selection.stalled([*round.earlier, round.line], self._patience) if self._patience else None
        return Stop(why) if why else Keep()
