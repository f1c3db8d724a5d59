"""The journal of a run: one JSON object a line, the only record that reports read."""

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import files
from common.errors import CheckpointError
from common.files import open_file, write_atomically
from common.journal_lines import (
    Event,
    EventLine,
    JournalLine,
    RefusedLine,
    RoundLine,
    ScoredRound,
    figure_of,
    is_event,
    is_round,
)
from common.metrics import METRICS, table
from common.objectives import Loss
from server.records import json_values, run_files
from server.records.scored_with import scored_with

_LONGEST_REASON = 5000


class Scores:
    """What a running run asks its own journal, over and over: the scores of its rounds, read once and then kept.

    A journal of a thousand clients grows by a quarter of a megabyte a round, which takes milliseconds to read again.

    Args:
        path: The journal; while this object lives nobody else cuts it or writes rounds to it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @functools.cached_property
    def lines(self) -> list[ScoredRound]:
        """``round`` and ``scores`` of each round, in order."""
        return [_scores_of(line) for line in read(self._path)]

    def append(self, line: RoundLine) -> None:
        """Writes a round to the journal, see the function ``append``."""
        lines = self.lines
        append(self._path, line)
        lines.append(_scores_of(line))

    def cut(self, last_round: int) -> None:
        """Drops rounds from the journal, see the function ``cut``."""
        cut(self._path, last_round)
        self.__dict__.pop("lines", None)


def _scores_of(line: RoundLine) -> ScoredRound:
    return {"round": line["round"], "scores": line["scores"]}


def append(path: Path, line: JournalLine) -> None:
    """Writes one line to the journal. It outlives this process from then on, and the system from ``synchronise`` on."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def synchronise(path: Path) -> None:
    """Makes the lines of a journal last, also through a power cut; there may be none yet."""
    if path.exists():
        files.synchronise(path)


def note(path: Path, event: Event, round: int, reason: str, refused: Sequence[RefusedLine] = ()) -> None:
    """Appends something that happened beside the rounds, and makes it last; see ``docs/reliability.md``.

    Args:
        path: The journal.
        event: What happened.
        round: After which round, or in which.
        reason: In words; cut where it is very long.
        refused: The clients that were left out then.
    """
    line: EventLine = {"event": event, "round": round, "reason": reason[:_LONGEST_REASON]}
    if refused:
        line["refused"] = list(refused)
    append(path, line)
    synchronise(path)


def read(path: Path) -> list[RoundLine]:
    """Returns the rounds of a journal, in order. A torn last line, of a run that is writing or died, is left out.

    Raises:
        CheckpointError: A line before the last cannot be read.
    """
    return [line for line in _all(path) if is_round(line)]


def events(path: Path) -> list[EventLine]:
    """Returns what happened beside the rounds; see ``docs/reliability.md``.

    Raises:
        CheckpointError: A line before the last cannot be read.
    """
    return [line for line in _all(path) if is_event(line)]


def _all(path: Path) -> list[JournalLine]:
    try:
        with open_file(path) as file:
            content = file.read()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    found: list[JournalLine] = []
    rows = content.splitlines()
    for number, row in enumerate(rows, start=1):
        try:
            line, problems = run_files.journal_line(row)
            problems = json_values.wrong(problems)
        except ValueError as error:
            if number == len(rows) and not content.endswith(b"\n") and (found or row.startswith(b"{")):
                break  # torn
            problems = [str(error)]
        if problems:
            raise CheckpointError(
                f"{path}, line {number}, is not a line of a journal: {'; '.join(problems[:3])}. Take that line out, or "
                "put the file back as it was"
            )
        found.append(line)
    return found


def describe(line: RoundLine, num_rounds: int, losses: Sequence[Loss]) -> str:
    """Returns one line of text for a line of the journal.

    Args:
        line: Of a round.
        num_rounds: Of the run.
        losses: What its objective minimises; those that clients tell are shown.
    """
    parts = [f"round {line['round']}/{num_rounds}"]
    for loss in losses:
        if (value := mean_of(line, loss.name)) is not None:
            other = f" = {value * loss.other.factor:.3f} {loss.other.name}" if loss.other else ""
            parts.append(f"{loss.label} {value:.3f}{other}")
    parts.append(f"{sum(line['seconds'].values()):.2f} s")
    parts += _scores_in_words(line["scores"])
    if made_with := line.get("scored-with"):
        parts.append(f"({scored_with(made_with)})")
    parts += filter(None, (metric.remark(line["scores"]) for metric in METRICS.values()))
    if spent := line.get("privacy"):
        parts.append(f"epsilon {spent['epsilon']:.2f}")
    if line["refused"]:
        parts.append(f"{len(line['refused'])} left out")
    return "  ".join(parts)


def _scores_in_words(scores: Mapping[str, Any]) -> list[str]:
    """Returns scores as they stand in a line: figures, then where they are worst, with that figure."""
    known = table.scores()
    numbers = [one for one in known.values() if one.figure and {one.name, one.figure} <= scores.keys()]
    beside = {score.figure for score in numbers}
    words = [f"{key} {value:.3g}" for key, value in scores.items() if isinstance(value, float) and key not in beside]
    words += [f"{score.label} {scores[score.name]} ({scores[score.figure]:.3g})" for score in numbers]
    return words


def mean_of(line: RoundLine, key: str) -> float | None:
    """Returns the mean over the round's clients of one of their figures, weighted by examples; None if none has it."""
    rows = [(c["num-examples"], value) for c in line["clients"] if (value := figure_of(c, key)) is not None]
    return sum(n * value for n, value in rows) / sum(n for n, _ in rows) if rows else None


def cut(path: Path, last_round: int) -> None:
    """Drops the rounds after ``last_round``, which are done again; what happened beside the rounds stays."""
    kept = [line for line in _all(path) if "event" in line or line["round"] <= last_round]
    write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
