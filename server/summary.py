"""What a run ends with: the final scores of its generator, and what is to be known of them."""

import json
import time
from collections.abc import Sequence
from typing import Any

from common.files import write_atomically
from common.journal_lines import ScoredRound
from common.tree import digest
from server.evaluation.scoring import Scoring
from server.records import model_selection
from server.records.notes import Notes
from server.records.privacy_ledger import PrivacyLedger
from server.records.run_directory import RunDirectory
from server.rounds.base import Snapshot


def write(
    directory: RunDirectory,
    snapshot: Snapshot,
    scoring: Scoring,
    notes: Notes,
    lines: Sequence[ScoredRound],
    class_names: Sequence[str],
    begun: float,
    ledger: PrivacyLedger | None = None,
) -> dict[str, Any]:
    """Scores a run's last generator in full, writes ``summary.json``, and returns what it says.

    Args:
        directory: Of the run.
        snapshot: After its last round.
        scoring: What scores.
        notes: Where it is noted why metrics are not computed.
        lines: ``round`` and ``scores`` of its rounds.
        class_names: Of the classes.
        begun: When this process began with the run, on ``time.perf_counter``.
        ledger: What was released of private examples; None: nothing is promised of them.
    """
    state, start = snapshot.state, time.perf_counter()
    published = scoring.published(state)
    scores = scoring.final(state)
    audit = scoring.audit(state.round)
    if audit is not None:
        write_atomically(directory.audit, json.dumps(audit, indent=2).encode())
    notes.add_new("not-scored", state.round, scoring.reasons)
    best = model_selection.best(lines)
    content = {
        "rounds": state.round,
        "examples-seen": snapshot.examples_seen,
        "rollbacks": snapshot.rollbacks,
        "seconds": {"run": time.perf_counter() - begun, "final-scores": time.perf_counter() - start},
        "weights-sha256": digest(state.parameters),
        "generator-sha256": digest(published),
        "best": best and {"round": best["round"], **model_selection.compared_by(best["scores"])},
        "class-names": list(class_names),
        **({"privacy": ledger.summary()} if ledger else {}),
        "scores": scores,
        **scoring.summary(scores),
    }
    write_atomically(directory.summary, json.dumps(content, indent=2).encode())
    return content
