"""How long a table will take: by its cells that are done, and before there are any by rounds on trial.

OUT/trials.json    seconds that a cell of each row would take, by its label and settings, as rounds on trial tell
"""

import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from common.config import Scalar
from common.errors import FedGANError, in_words
from server.records import journal
from server.records.run_directory import RunDirectory
from server.records.time_left import SCORING, roughly, seconds_left
from simulations.runtime.in_process import simulate
from simulations.runtime.progress import scoring
from simulations.studies.cells import Cell, state_of, write_json
from simulations.studies.costs import costs_in
from simulations.studies.entries import written

FILE = "trials.json"

_ROUNDS = 2  # on trial; the first one is slower
_SHORT = 10 * _ROUNDS  # rounds of a row that are not worth a trial


@dataclass(frozen=True)
class Left:
    """How long cells will take.

    Attributes:
        seconds: By the clock; None: nothing is known.
        cells: How many are not done.
        guessed: Labels of rows of which nothing is known; each of their cells counts as one of the other rows.
        on_trial: Whether some of it is known from rounds on trial alone.
    """

    seconds: float | None
    cells: int
    guessed: tuple[str, ...]
    on_trial: bool

    def phrase(self) -> str:
        """Returns it in words; empty where nothing is known, or nothing is left."""
        if self.seconds is None or not self.cells:
            return ""
        by = "rounds on trial" if self.on_trial else "the cells that are done"
        guessed = f", {', '.join(self.guessed)} by the other rows" if self.guessed else ""
        return f"about {roughly(self.seconds)} for {self.cells} cell{'s' * (self.cells > 1)}, by {by}{guessed}"


class TimeLeft:
    """Estimates how long the cells of a table that are not done will take.

    Args:
        cells: All of them.
        folder: Of the table; need not be there.

    Raises:
        OtherRunError: A cell's folder holds another run.
    """

    def __init__(self, cells: Sequence[Cell], folder: Path) -> None:
        self._taken: dict[str, list[float]] = {}
        self._share: dict[Path, float] = {}
        self._cells = {cell.path: cell for cell in cells}
        file = folder / FILE
        self._trials: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        for cell in cells:
            state = state_of(cell)
            if state == "finished":
                self._note(cell)
            else:
                self._share[cell.path] = _share_left(cell) if state == "begun" else 1.0

    def done(self, cell: Cell) -> None:
        """Notes that a cell is finished, or has failed."""
        if self._share.pop(cell.path, None) is not None and not cell.failure.exists():
            self._note(cell)

    def untried(self) -> list[Cell]:
        """Returns a cell of each row of which nothing is known and many rounds are left."""
        rounds: dict[str, int] = {}
        first: dict[str, Cell] = {}
        for path in self._share:
            cell = self._cells[path]
            label = cell.entry.label
            rounds[label] = rounds.get(label, 0) + cell.config.federation.num_rounds
            first.setdefault(label, cell)
        return [
            cell
            for label, cell in first.items()
            if label not in self._taken
            and _key(cell) not in self._trials
            and rounds[label] >= _SHORT
            and cell.entry.kind != "alone"
        ]

    def left(self) -> Left:
        """Returns how long it will take from now on."""
        each = {label: statistics.median(seconds) for label, seconds in self._taken.items()}
        tried = {cell.entry.label: self._trials.get(_key(cell)) for cell in self._cells.values()}
        trials = {label: seconds for label, seconds in tried.items() if seconds and label not in each}
        known = trials | each
        if not known:
            return Left(None, len(self._share), (), False)
        mean = statistics.fmean(known.values())
        labels = [self._cells[path].entry.label for path in self._share]
        seconds = sum(share * known.get(label, mean) for label, share in zip(labels, self._share.values(), strict=True))
        guessed = tuple(dict.fromkeys(label for label in labels if label not in known))
        return Left(seconds, len(self._share), guessed, bool(trials.keys() & set(labels)))

    def _note(self, cell: Cell) -> None:
        seconds = costs_in(cell.path).get("seconds") or _by_journal(RunDirectory(cell.path))
        if seconds:
            self._taken.setdefault(cell.entry.label, []).append(seconds)


def try_rounds(cells: Sequence[Cell], folder: Path, num_workers: int | None, engine: str, stream: TextIO) -> None:
    """Runs two rounds and the final scores of some cells elsewhere, and keeps how long whole ones would take.

    Args:
        cells: As ``TimeLeft.untried`` returns them.
        folder: Of the table; it exists.
        num_workers: Clients at a time; None: one a core.
        engine: See ``simulate``.
        stream: Where it is said what is tried.
    """
    file = folder / FILE
    known: dict[str, float | None] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for cell in cells:
        label = cell.entry.label
        stream.write(f"on trial, to tell the time: {_ROUNDS} rounds of {label}\n")
        try:
            known[_key(cell)] = _tried(cell, num_workers, engine, stream)
        except FedGANError as error:  # the cell itself will say so, or not
            stream.write(f"{label}: its time is not known: {in_words(error)}\n")
            known[_key(cell)] = None
        write_json(file, known)


def _tried(cell: Cell, num_workers: int | None, engine: str, stream: TextIO) -> float:
    """Returns the seconds that a cell would take by two of its rounds, of which the last is scored, and the scores."""
    rounds = min(_ROUNDS, cell.config.federation.num_rounds)
    with tempfile.TemporaryDirectory(prefix="fedgan-trial-") as place:
        run = RunDirectory(Path(place) / "run")
        settings: dict[str, Scalar] = {
            "federation.num-rounds": rounds,
            "evaluation.every": 0,
            "federation.patience": 0,
            "hooks": "",
        }
        config = cell.config.replaced(
            {**settings, "tracking": "none", "output.dir": str(run.path), "output.resume": False}
        )
        with scoring(stream):
            simulate(config, num_workers=num_workers, engine=engine)
        last = journal.read(run.journal)[-1]["seconds"]
        looked = last.get(SCORING, 0.0)
        final: float = run.read_summary()["seconds"]["final-scores"]
        return seconds_left(cell.config, 0, [sum(last.values()) - looked], [looked]) + final


def _key(cell: Cell) -> str:
    """Returns what a trial is of, for people to read as well."""
    return f"{cell.entry.label}: {written(cell.entry.overrides)}"


def _share_left(cell: Cell) -> float:
    """Returns the share of a begun cell's rounds that are not done."""
    run = RunDirectory(cell.path)
    lines = journal.read(run.journal) if run.journal.exists() else []
    return 1.0 - (lines[-1]["round"] / cell.config.federation.num_rounds if lines else 0.0)


def _by_journal(run: RunDirectory) -> float:
    """Returns the seconds of a finished run by its own account; 0 of one that keeps none."""
    if not run.summary.exists():
        return 0.0
    lines = journal.read(run.journal)
    final: float = run.read_summary()["seconds"]["final-scores"]
    return sum(sum(line["seconds"].values()) for line in lines) + final
