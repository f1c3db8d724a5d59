"""Whether a run was ended before its last round, from its journal: also where it was killed before it said so."""

from collections.abc import Sequence

from common.config import RunConfig
from common.hooks import FinishedRound, Stop
from common.journal_lines import RoundLine
from server.records import model_selection
from server.records.privacy_ledger import PrivacyLedger
from server.rounds.base import Snapshot
from server.rounds.patience import Patience


def why_over(
    config: RunConfig, lines: Sequence[RoundLine], snapshot: Snapshot, ledger: PrivacyLedger | None
) -> str | None:
    """Returns in words why a run need not go on after the last round in its journal; None if it should.

    A run that was ended early and is resumed ends at once, unless it is to go on for longer now.

    Args:
        config: As the run is to go on.
        lines: Its rounds.
        snapshot: After the last of them.
        ledger: What was released of private examples; None: nothing is promised of them.
    """
    if ledger and (why := ledger.why_ended(snapshot.state.round)):
        return why
    if not lines:
        return None
    quality = model_selection.quality(lines[-1]["scores"])
    last = FinishedRound(
        state=snapshot.state,
        line=lines[-1].copy(),
        earlier=lines[:-1],
        num_rounds=config.federation.num_rounds,
        rollbacks=snapshot.rollbacks,
        quality=quality,
    )
    answers = [*(hook.after(last) for hook in config.round_hooks), Patience(config).after(last)]
    return next((answer.why for answer in answers if isinstance(answer, Stop)), None)
