"""Scores the generator of each round that is to be scored."""

from common.config import RunConfig
from common.errors import DivergenceError
from common.hooks import Answer, GoBack, Keep
from server.evaluation.scoring import Scoring
from server.records import model_selection
from server.records.time_left import is_scored
from server.rounds.base import KeptRound


class ScoreRound:
    """Puts the scores of a round into its line.

    Args:
        config: The run's.
        scoring: What scores.
    """

    def __init__(self, config: RunConfig, scoring: Scoring) -> None:
        self._config, self._scoring = config, scoring

    def after(self, round: KeptRound) -> Answer:
        """Scores the round if it is due; a model whose examples are not finite cannot be kept."""
        if not is_scored(self._config, round.number):
            return Keep()
        try:
            scores = self._scoring.quick(self._scoring.published(round.state))
        except DivergenceError as error:
            return GoBack(str(error), error)
        round.line["scores"] = scores
        if made := self._scoring.made_with(scores):
            round.line["scored-with"] = made
        round.quality = model_selection.quality(scores)
        return Keep()
