"""A hook of a user's own, in a file of its own: ends a run after a round."""

from typing import ClassVar

from common.hooks import Answer, FinishedRound, Keep, RoundHook, Stop


class EndsAt(RoundHook):
    """Ends the run after a round."""

    source: ClassVar[str] = "tests"
    round: int = 2

    def after(self, round: FinishedRound) -> Answer:
        round.line["seen-by"] = self.component_name()
        return Stop(f"round {self.round} is enough") if round.number == self.round else Keep()
