"""Runs a protocol over algorithms and seeds: which runs there are, what became of each, and where it is kept.

OUT/real-HASH.json, .png                  real images in the same metrics, once a data set
OUT/p1-cpu/protocol.json                  what is compared
OUT/p1-cpu/<label>/entry.json             a row
OUT/p1-cpu/<label>/seed-0/                a run directory, and beside its own files
    best.json                             all scores of its best round
    machines.json                         where it ran, and which code
    failure.json                          why it ended early, if it did
"""

import json
import logging
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, TextIO

import torch

from client.data import load
from common import wire
from common.config import RunConfig, Scalar
from common.errors import CheckpointError, OtherRunError, OutputError, in_words
from common.files import write_atomically
from common.machine import instructions, processor
from common.metrics import table
from common.threads import available_cores
from server import checkpoint
from server.evaluation.evaluator import Evaluator
from server.records import journal
from server.records.run_directory import RunDirectory
from simulations.benchmark import alone
from simulations.benchmark.protocols import Entry
from simulations.runs.generator import load_trained
from simulations.runtime.in_process import simulate
from simulations.runtime.progress import scoring, watching

log = logging.getLogger("fedgan.simulations")

_FREE = {"data.root", "evaluation.inception-weights", "evaluation.answer-seconds"}
_FREE |= {f"federation.{key}" for key in ("round-retries", "wait-seconds", "round-seconds")}


@dataclass(frozen=True)
class Cell:
    """One run of a table.

    Attributes:
        entry: Its row.
        seed: Root of its random numbers.
        config: The whole configuration; ``output.dir`` is ``path``.
        path: Its run directory.
    """

    entry: Entry
    seed: int
    config: RunConfig
    path: Path

    @property
    def failure(self) -> Path:
        """Where it says why it ended early."""
        return self.path / "failure.json"


def plan(base: RunConfig, entries: Sequence[Entry], seeds: Iterable[int], folder: Path) -> list[Cell]:
    """Returns the runs of a table, in the order in which they are run: all rows of the first seed, then of the next.

    Args:
        base: The protocol.
        entries: The rows.
        seeds: Roots of random numbers.
        folder: Of the table, absolute.

    Raises:
        ConfigError: An entry that cannot be a run.
    """
    cells = []
    for seed in seeds:
        for entry in entries:
            path = folder / entry.slug / f"seed-{seed}"
            values: dict[str, Scalar] = {**entry.overrides, "seed": seed, "output.dir": str(path)}
            cells.append(Cell(entry, seed, base.replaced(values), path))
    return cells


def open_table(folder: Path, description: Mapping[str, Any], base: RunConfig, entries: Iterable[Entry]) -> None:
    """Makes the folder of a table, or goes on with it, and writes what its rows are.

    Args:
        folder: Absolute.
        description: ``protocol``, ``budget``, ``name``, ``title`` and ``overrides``, for the page.
        base: The protocol as it is run.
        entries: Rows to add.

    Raises:
        OtherRunError: The folder holds a table of other settings.
    """
    file = folder / "protocol.json"
    if file.exists():
        known = json.loads(file.read_text(encoding="utf-8"))
        if differences := _differences(RunConfig.from_flat(known["config"]), base):
            raise OtherRunError(f"the table in {folder} is another one: {'; '.join(differences)}; take another --out")
    folder.mkdir(parents=True, exist_ok=True)
    config = {key: value for key, value in base.flat().items() if not key.startswith("output.") and key != "data.root"}
    _write(file, {**description, "config": config})
    for entry in entries:
        place = folder / entry.slug
        place.mkdir(exist_ok=True)
        _write(place / "entry.json", asdict(entry))


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


def execute(cell: Cell, num_workers: int | None, stream: TextIO, engine: str = "threads") -> bool:
    """Runs a cell to its end, from where it was left, and scores its best round; returns whether it got there.

    A finished run is only read. Why a run failed is in its folder; the next call tries again.

    Args:
        cell: See ``plan``.
        num_workers: Clients at a time; None: one a core.
        stream: Where progress is shown.
        engine: See ``simulate``; that a cohort is trained together changes the last digits of a row's figures.

    Raises:
        OutputError, OSError: The folder cannot be written, so no run can go on.
    """
    if state_of(cell) != "finished":
        cell.path.mkdir(parents=True, exist_ok=True)
        cell.failure.unlink(missing_ok=True)
        _note_machine(cell.path, num_workers, engine)
        try:
            _train(cell, num_workers, stream, engine)
        except (OutputError, OSError):
            raise
        except Exception as error:  # whatever ends one run, the others go on
            _write(cell.failure, {"reason": in_words(error)})
            log.debug("%s, seed %d", cell.entry.label, cell.seed, exc_info=True)
            return False
    if cell.entry.kind != "alone":
        with scoring(stream):
            score_best(RunDirectory(cell.path), cell.config)
    return True


def _train(cell: Cell, num_workers: int | None, stream: TextIO, engine: str) -> None:
    if cell.entry.kind == "alone":
        alone.train_alone(cell.config, cell.path, num_workers, stream)
        return
    config = cell.config.replaced({"output.resume": RunDirectory(cell.path).config.exists()})
    with watching(config, stream) as on_reply:
        simulate(config, num_workers=num_workers, on_reply=on_reply, engine=engine)


def score_best(run: RunDirectory, config: RunConfig) -> None:
    """Writes all scores of the round with the lowest fid, as they are computed of the last round; once.

    Nothing is written where the run has no fid, or the round has no checkpoint any more.
    """
    file = run.path / "best.json"
    summary = run.read_summary()
    best = summary["best"]
    if best is None or (file.exists() and json.loads(file.read_text(encoding="utf-8"))["round"] == best["round"]):
        return
    found: dict[str, Any] = {key: summary[key] for key in ("scores", "scored-with") if key in summary}
    if best["round"] != summary["rounds"]:
        if not checkpoint.path_of(run.checkpoints, best["round"]).exists():
            log.warning("%s: no checkpoint of its best round %d", run.path, best["round"])
            return
        torch.set_num_threads(config.local.num_threads)  # utility depends on it, to the bit
        trained = load_trained(run.path, best["round"])
        evaluator = Evaluator(config, load(config.data))
        found = evaluator.summary(trained.generator, table.held_out(), config.evaluation.final_num_samples)
        found.pop("not-scored")
    seen = next(line["examples-seen"] for line in journal.read(run.journal) if line["round"] == best["round"])
    _write(file, {"round": best["round"], "examples-seen": seen, **found})


def machine(num_workers: int | None, engine: str) -> dict[str, Any]:
    """Returns on what a run is made, how, and by which code."""
    return {
        "processor": processor(),
        "instructions": instructions(),
        "cores": available_cores(),
        "workers": num_workers or available_cores(),
        "engine": engine,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": date.today().isoformat(),
        "code": wire.source_fingerprint(),
    }


def _note_machine(path: Path, num_workers: int | None, engine: str) -> None:
    file = path / "machines.json"
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    if (here := machine(num_workers, engine)) not in known:
        _write(file, [*known, here])


def _differences(theirs: RunConfig, ours: RunConfig) -> list[str]:
    """Returns a phrase for each key that matters to a figure of the table and differs."""
    return checkpoint.differences_between(_figures_depend_on(theirs), _figures_depend_on(ours))


def _figures_depend_on(config: RunConfig) -> dict[str, Scalar]:
    return {key: v for key, v in config.flat().items() if not key.startswith("output.") and key not in _FREE}


def _write(path: Path, content: object) -> None:
    write_atomically(path, (json.dumps(content, indent=1) + os.linesep).encode())
