"""Ends a run once it is good enough."""

from typing import ClassVar

from pydantic import Field

from common.hooks.base import Answer, FinishedRound, Keep, RoundHook, Stop


class Target(RoundHook):
    """Ends the run after the first scored round whose fid is no higher than ``fid``."""

    source: ClassVar[str] = "rounds to a target, as McMahan et al. 2017 (arXiv 1602.05629), table 1, count them"
    needs_scores: ClassVar[bool] = True

    fid: float = Field(10.0, gt=0, description="fid, or federated-fid where the server has no data, that is enough")

    def after(self, round: FinishedRound) -> Answer:
        if round.quality is None or round.quality > self.fid:
            return Keep()
        return Stop(f"fid {round.quality:.3g} is no higher than {self.fid:g}, the target (hooks={self.spec()!r})")
