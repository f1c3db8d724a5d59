"""The cells of a table, rows over seeds and folds: which runs there are, where each is kept, and how far it is.

OUT/protocol.json                   what is compared
OUT/<label>/entry.json              a row
OUT/<label>/seed-0/                 a run directory, with folds seed-0-fold-1; and beside its own files
    best.json                       all scores of its best round
    costs.json                      what it took
    machines.json                   where it ran, and which code
    failure.json                    why it ended early, if it did
"""

import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import filelock

from common.config import RunConfig, Scalar, upgraded
from common.errors import BusyError, CheckpointError, ConfigError, OtherRunError
from common.files import write_atomically
from common.privacy_checks import check_alone
from server import checkpoint
from server.records import journal
from server.records.run_directory import RunDirectory
from simulations.studies import alone
from simulations.studies.entries import Entry

log = logging.getLogger("fedgan.simulations")

_NAME = re.compile(r"seed-(\d+)(?:-fold-(\d+))?")
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")
_MOST_SEEDS = 10_000
_FREE = {"data.root", "evaluation.inception-weights", "evaluation.answer-seconds"}
_FREE |= {f"federation.{key}" for key in ("round-retries", "wait-seconds", "round-seconds")}

Key = tuple[int, int]
"""What a cell of a row is told apart by: its seed and its fold, 0 where there are none."""


@dataclass(frozen=True)
class Cell:
    """One run of a table.

    Attributes:
        entry: Its row.
        seed: Root of its random numbers.
        config: The whole configuration; ``output.dir`` is ``path``.
        path: Its run directory.
        fold: Which fold of each client's data is held out, from 1; 0: there are none.
    """

    entry: Entry
    seed: int
    config: RunConfig
    path: Path
    fold: int = 0

    @property
    def failure(self) -> Path:
        """Where it says why it ended early."""
        return self.path / "failure.json"

    @property
    def name(self) -> str:
        """What it is called in a line."""
        return f"{self.entry.label}, {in_words_of((self.seed, self.fold))}"


def in_words_of(key: Key) -> str:
    """Returns a cell's seed and fold, as ``seed 0`` or ``seed 0, fold 1``."""
    seed, fold = key
    return f"seed {seed}" + (f", fold {fold}" if fold else "")


def folder_of(seed: int, fold: int) -> str:
    """Returns the name of a cell's folder."""
    return f"seed-{seed}-fold-{fold}" if fold else f"seed-{seed}"


def key_of(name: str) -> Key | None:
    """Returns seed and fold of a cell by the name of its folder; None if it is none."""
    found = _NAME.fullmatch(name)
    return (int(found[1]), int(found[2] or 0)) if found else None


def read_seeds(text: str, where: str) -> list[int]:
    """Returns seeds as they are written: ``0,1,2``, or with ranges, ``0-4,7``.

    Args:
        text: As it is written.
        where: What it is the value of, for errors.

    Raises:
        ConfigError: Something else, one seed twice, or more than 10,000.
    """
    seeds: list[int] = []
    for word in text.split(","):
        found = _RANGE.fullmatch(word.strip())
        if not found:
            raise ConfigError(f"{where} {text!r}: whole numbers by comma, none negative, or ranges, as 0,1,2 or 0-4,7")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first:
            raise ConfigError(f"{where} {text!r}: the range {word.strip()} ends before it begins: {last}-{first}")
        if last - first >= _MOST_SEEDS:
            raise ConfigError(f"{where} {text!r}: more than {_MOST_SEEDS:,} seeds")
        seeds += range(first, last + 1)
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"{where} {text!r}: each once")
    return seeds


def plan(
    base: RunConfig, entries: Sequence[Entry], seeds: Iterable[int], folder: Path, folds: Iterable[int] = (0,)
) -> list[Cell]:
    """Returns the runs of a table, in the order in which they are run: all rows of the first seed, then of the next.

    Args:
        base: What all rows share.
        entries: The rows.
        seeds: Roots of random numbers.
        folder: Of the table, absolute.
        folds: Which folds are held out, one after another, of ``evaluation.folds`` in ``base``; 0: none.

    Raises:
        ConfigError: An entry that cannot be a run, or runs that promise privacy of the same private examples.
    """
    cells, folds = [], list(folds)
    for seed in seeds:
        for fold in folds:
            for entry in entries:
                path = folder / entry.slug / folder_of(seed, fold)
                held_out: dict[str, Scalar] = {"evaluation.fold": fold} if fold else {}
                values: dict[str, Scalar] = {**entry.overrides, **held_out, "seed": seed, "output.dir": str(path)}
                cells.append(Cell(entry, seed, base.replaced(values), path, fold))
    check_alone(cell.config for cell in cells)
    return cells


def open_table(folder: Path, description: Mapping[str, Any], base: RunConfig, entries: Iterable[Entry]) -> None:
    """Makes the folder of a table, or goes on with it, and writes what its rows are.

    Args:
        folder: Absolute.
        description: ``protocol``, ``budget``, ``name``, ``title`` and ``overrides``, for whoever reads the table.
        base: What all rows share.
        entries: Rows to add.

    Raises:
        ConfigError: The folder is a run directory.
        OtherRunError: The folder holds a table of other settings.
    """
    if (folder / "config.toml").exists():
        raise ConfigError(f"--out {str(folder)!r} is a run directory: name another folder")
    file = folder / "protocol.json"
    if file.exists():
        known = json.loads(file.read_text(encoding="utf-8"))
        if differences := _differences(RunConfig.from_flat(upgraded(known["config"])), base):
            raise OtherRunError(f"the table in {folder} is another one: {'; '.join(differences)}; take another --out")
    folder.mkdir(parents=True, exist_ok=True)
    config = {key: value for key, value in base.flat().items() if not key.startswith("output.") and key != "data.root"}
    write_json(file, {**description, "config": config})
    for entry in entries:
        place = folder / entry.slug
        place.mkdir(exist_ok=True)
        write_json(place / "entry.json", asdict(entry))


@contextmanager
def table_locked(folder: Path) -> Iterator[None]:
    """Keeps other processes from running cells of a table while the block runs; the lock dies with the process.

    Raises:
        BusyError: Another process is at work on it.
    """
    lock = filelock.FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise BusyError(f"another process is at work on the table in {str(folder)!r}") from None
    try:
        yield
    finally:
        lock.release()


def state_of(cell: Cell) -> str:
    """Returns ``finished``, ``begun``, ``failed`` or ``new``.

    Raises:
        OtherRunError: Its folder holds a run of another configuration; names the differences.
    """
    run, is_alone = RunDirectory(cell.path), cell.entry.kind == "alone"
    known = alone.settings_of(cell.path) if is_alone else run.read_config() if run.config.exists() else None
    if known is None:
        return "failed" if cell.failure.exists() else "new"
    if differences := _differences(known, cell.config):
        raise OtherRunError(
            f"the run in {cell.path} is another one: {'; '.join(differences)}; remove it, or take another --out"
        )
    if alone.figures_in(cell.path) if is_alone else finished(run):
        return "finished"
    return "failed" if cell.failure.exists() else "begun"


def finished(run: RunDirectory) -> bool:
    """Returns whether a run has its final scores: after all its rounds, or fewer where it was enough of them."""
    try:
        rounds = run.read_summary().get("rounds")
    except CheckpointError as error:
        log.warning("%s", error)
        return False
    lines = journal.read(run.journal)
    return bool(lines) and bool(lines[-1]["round"] == rounds)


def write_json(path: Path, content: object) -> None:
    """Writes a file that people may read as well, whole or not at all."""
    write_atomically(path, (json.dumps(content, indent=1) + os.linesep).encode())


def _differences(theirs: RunConfig, ours: RunConfig) -> list[str]:
    """Returns a phrase for each key that matters to a figure of the table and differs."""
    return checkpoint.differences_between(figures_depend_on(theirs), figures_depend_on(ours))


def figures_depend_on(config: RunConfig) -> dict[str, Scalar]:
    """Returns the settings that matter to a figure of a table, by dotted keys."""
    return {key: v for key, v in config.flat().items() if not key.startswith("output.") and key not in _FREE}
