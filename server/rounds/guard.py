"""Sends a run back whose generator has become much worse than it was."""

from common.config import RunConfig
from common.hooks import Answer, FinishedRound, GoBack, Keep
from server.records import model_selection


class Guard:
    """Answers that a round is not to be kept whose fid is ``guard.ratio`` times the best, or more.

    Args:
        config: The run's.
    """

    def __init__(self, config: RunConfig) -> None:
        self._ratio = config.guard.ratio

    def after(self, round: FinishedRound) -> Answer:
        """Compares the round with the best of the rounds before it."""
        if round.quality is None:
            return Keep()
        why = model_selection.fault(round.line["scores"], round.earlier, self._ratio)
        return GoBack(why) if why else Keep()
