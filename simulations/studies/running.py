"""Runs the cells of a table, each to its end from where it was left, and says how far it is."""

import json
import logging
import platform
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TextIO

import torch

from client.data import load
from common import wire
from common.config import RunConfig
from common.errors import BusyError, OutputError, in_words
from common.machine import instructions, processor
from common.metrics import table
from common.threads import available_cores
from server import checkpoint
from server.evaluation.evaluator import Evaluator
from server.records import journal
from server.records.run_directory import RunDirectory
from simulations.runs.generator import load_trained
from simulations.runtime.in_process import simulate
from simulations.runtime.progress import scoring, watching
from simulations.studies import alone
from simulations.studies.cells import Cell, state_of, table_locked, write_json
from simulations.studies.costs import metered
from simulations.studies.time_left import TimeLeft, try_rounds

log = logging.getLogger("fedgan.simulations")

_SAID = {"finished": "is read", "begun": "goes on", "failed": "failed, and is tried again"}


def run_all(
    cells: Sequence[Cell],
    folder: Path,
    num_workers: int | None,
    engine: str,
    stream: TextIO,
    after_each: Callable[[], object],
    *,
    tries: bool = False,
) -> list[str]:
    """Runs what is not done of a table, and returns a phrase for each cell that failed.

    Args:
        cells: See ``plan``.
        folder: Of the table; it exists.
        num_workers: Clients at a time; None: one a core.
        engine: See ``simulate``.
        stream: Where progress is shown.
        after_each: Called after each cell, to write the table.
        tries: Whether to run rounds on trial first, of rows of which nothing is known, to tell how long it will take.

    Raises:
        BusyError: Another process is at work on the table.
        OutputError, OSError: The folder cannot be written, so no run can go on.
    """
    failed = []
    with table_locked(folder):
        clock = _tried(cells, folder, num_workers, engine, stream) if tries else TimeLeft(cells, folder)
        for number, cell in enumerate(cells, start=1):
            state = state_of(cell)
            left = "" if state == "finished" else clock.left().phrase()
            stream.write(f"[{number}/{len(cells)}] {cell.name}: {_SAID.get(state, 'begins')}{left and f'; {left}'}\n")
            if not execute(cell, num_workers, stream, engine):
                failed.append(f"{cell.name}: {json.loads(cell.failure.read_text(encoding='utf-8'))['reason']}")
            clock.done(cell)
            after_each()
    return failed


def run_trials(cells: Sequence[Cell], folder: Path, num_workers: int | None, engine: str, stream: TextIO) -> TimeLeft:
    """Runs rounds on trial of rows of which nothing is known, and returns what then tells the time; see ``run_all``."""
    with table_locked(folder):
        return _tried(cells, folder, num_workers, engine, stream)


def _tried(cells: Sequence[Cell], folder: Path, num_workers: int | None, engine: str, stream: TextIO) -> TimeLeft:
    clock = TimeLeft(cells, folder)
    if untried := clock.untried():
        try_rounds(untried, folder, num_workers, engine, stream)
        clock = TimeLeft(cells, folder)
    return clock


def execute(cell: Cell, num_workers: int | None, stream: TextIO, engine: str = "threads") -> bool:
    """Runs a cell to its end, from where it was left, and scores its best round; returns whether it got there.

    A finished run is only read. Why a run failed is in its folder; the next call tries again.

    Args:
        cell: See ``plan``.
        num_workers: Clients at a time; None: one a core.
        stream: Where progress is shown.
        engine: See ``simulate``; that a cohort is trained together changes the last digits of a row's figures.

    Raises:
        BusyError: Another process is at work in the folder.
        OutputError, OSError: The folder cannot be written, so no run can go on.
    """
    if state_of(cell) != "finished":
        cell.path.mkdir(parents=True, exist_ok=True)
        cell.failure.unlink(missing_ok=True)
        _note_machine(cell.path, num_workers, engine)
        try:
            with metered(cell.path) as tick:
                _train(cell, num_workers, stream, engine, tick)
        except (BusyError, OutputError, OSError):
            raise
        except Exception as error:  # whatever ends one run, the others go on
            write_json(cell.failure, {"reason": in_words(error)})
            log.debug("%s", cell.name, exc_info=True)
            return False
    if cell.entry.kind != "alone":
        with scoring(stream):
            score_best(RunDirectory(cell.path), cell.config)
    return True


def _train(cell: Cell, num_workers: int | None, stream: TextIO, engine: str, tick: Callable[[], None]) -> None:
    if cell.entry.kind == "alone":
        alone.train_alone(cell.config, cell.path, num_workers, stream)
        return
    config = cell.config.replaced({"output.resume": RunDirectory(cell.path).config.exists()})
    with watching(config, stream) as on_reply:

        def on_turn(partition: int) -> None:
            on_reply(partition)
            tick()

        simulate(config, num_workers=num_workers, on_reply=on_turn, engine=engine)


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
    write_json(file, {"round": best["round"], "examples-seen": seen, **found})


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
        write_json(file, [*known, here])
