"""What a user may have look at each finished round, one a file. What every run has stands in ``server/run.py``."""

from common.hooks.base import Answer, FinishedRound, GoBack, Keep, RoundHook, Stop
from common.hooks.target import Target

ROUND_HOOKS: dict[str, type[RoundHook]] = {"target": Target}

__all__ = ["ROUND_HOOKS", "Answer", "FinishedRound", "GoBack", "Keep", "RoundHook", "Stop"]
