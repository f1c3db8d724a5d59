"""A hook of a user's own, in a file of its own: sends a run back."""

from typing import ClassVar

from common.hooks import Answer, FinishedRound, GoBack, Keep, RoundHook


class Doubts(RoundHook):
    """Does not believe a round until the run has gone back so many times."""

    source: ClassVar[str] = "tests"
    may_go_back: ClassVar[bool] = True
    may_stop: ClassVar[bool] = False
    round: int = 2
    times: int = 1

    def after(self, round: FinishedRound) -> Answer:
        doubtful = round.number == self.round and round.rollbacks < self.times
        return GoBack("it is too good to be true") if doubtful else Keep()
