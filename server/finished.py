"""Whether a run that is to go on is over already: then it stays as it is, and says so."""

import shlex
from datetime import datetime

from common.config import RunConfig
from common.errors import CheckpointError, ConfigError
from server import checkpoint
from server.records import journal
from server.records.privacy_ledger import PrivacyLedger
from server.records.run_directory import RunDirectory
from server.rounds.ended_early import why_over


def remark(config: RunConfig, directory: RunDirectory) -> str | None:
    """Returns in words that a run has all its rounds and its final scores; None if there is something left to do.

    Args:
        config: As the run is to go on.
        directory: Where it is.

    Raises:
        ConfigError: It is over, and ``config`` would score it in another way.
    """
    try:
        rounds, lines = directory.read_summary().get("rounds"), journal.read(directory.journal)
        stored = directory.read_config()
        if not lines or lines[-1]["round"] != rounds or stored.identity() != config.identity():
            return None
        kept = checkpoint.latest(directory.checkpoints)
        ledger = PrivacyLedger.read(directory.privacy)
    except CheckpointError:
        return None  # what is not whole is made again
    if kept is None or kept.snapshot.state.round != rounds:
        return None
    if not directory.report.exists() or any(directory.path.glob(".*.tmp")):
        return None  # it died while it wrote the last of its files
    if rounds < config.federation.num_rounds and not why_over(config, lines, kept.snapshot, ledger):
        return None
    again = f"fedgan evaluate {shlex.quote(str(directory.path))}"
    before, now = stored.flat(), config.flat()
    if other := [f"{key}={now[key]}" for key in now if key.startswith("evaluation.") and now[key] != before[key]]:
        raise ConfigError(
            f"{str(directory.path)!r} is finished, and its scores stay as they are, without {', '.join(other)}; to "
            f"score it again: {again}"
        )
    when = datetime.fromtimestamp(directory.summary.stat().st_mtime)
    return (
        f"{directory.path} is finished after round {rounds}: nothing is left to train; its final scores are of "
        f"{when:%Y-%m-%d %H:%M} (to score it again: {again})"
    )
