"""What becomes of a finished round, and of the run, by what its hooks answer in turn."""

import logging
from collections.abc import Sequence

from common.hooks import Answer, GoBack, Keep, RoundHook, Stop
from server.records.notes import Notes
from server.rounds.base import Hook, KeptRound

log = logging.getLogger("fedgan.server")


def verdict(hooks: Sequence[Hook], round: KeptRound, max_rollbacks: int, notes: Notes) -> Answer:
    """Has hooks look at a finished round, and returns what is to become of it and of the run.

    Hooks after one that has the run go back do not see the round. Those after one that stops the run do, and the first
    that stops it counts. A round that the run would go back from is kept, with a warning, if that is possible and the
    run may not go back any more.

    Args:
        hooks: In their order.
        round: That is finished.
        max_rollbacks: How often the run may go back.
        notes: Take why a round was kept in spite of a hook.

    Raises:
        TypeError: A hook goes back that says that it does not.
    """
    stop = None
    for hook in hooks:
        answer = hook.after(round)
        if isinstance(answer, GoBack):
            if isinstance(hook, RoundHook) and not hook.may_go_back:
                raise TypeError(f"hook {hook.component_name()!r} answers GoBack, and says may_go_back = False")
            if round.rollbacks < max_rollbacks or answer.error is not None:
                return answer
            how_often = "the run has gone back as often as guard.rollbacks allows"
            log.warning("round %d: %s; %s", round.number, answer.why, how_often)
            notes.add("diverged", round.number, answer.why)
        elif isinstance(answer, Stop):
            stop = stop or answer
    return stop or Keep()
