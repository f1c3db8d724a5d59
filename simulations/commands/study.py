"""The command ``fedgan study``: rows of settings over seeds and folds, from one file to one table."""

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.errors import ConfigError
from simulations.commands.options import EngineOption, JsonOption, Overrides, WorkersOption, end_with, interruptible
from simulations.runtime.settings import read_overrides

if TYPE_CHECKING:
    from simulations.studies.cells import Cell


def study(  # noqa: PLR0913, PLR0917  an argument is an option of the command
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="What is compared: docs/studies.md.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where runs and tables go; default: runs/FILE.")
    ] = None,
    config: Overrides = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", metavar="0-4,7", help="In the place of the file's; a range has both ends.")
    ] = None,
    workers: WorkersOption = None,
    engine: EngineOption = "threads",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the runs, and the time that is left as far as cells tell.")
    ] = False,
    estimate: Annotated[
        bool,
        typer.Option("--estimate", help="Say how long it will take, by a few rounds on trial; start nothing else."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a study from one file, cell by cell, and write its table; the same command goes on after Ctrl-C."""
    from simulations.runtime.in_process import check_engine
    from simulations.runtime.launch import check
    from simulations.studies import cells as bench
    from simulations.studies.comparisons import require_scipy
    from simulations.studies.figures import write_figures
    from simulations.studies.running import run_all, run_trials
    from simulations.studies.study_figures import write_study_figure
    from simulations.studies.study_file import read_study
    from simulations.studies.table_files import write_table
    from simulations.studies.time_left import TimeLeft

    check_engine(engine)
    require_scipy()
    found = read_study(file, read_overrides(config), seeds)
    folder = (out or Path("runs") / found.name).absolute()
    cells = found.cells(folder)
    clock = TimeLeft(cells, folder)
    if dry_run:
        _list(cells, clock.left().phrase(), as_json)
        return
    for cell in cells[: len(found.entries)]:
        try:
            check(cell.config)  # before anything is written
        except ConfigError as error:
            raise ConfigError(f"{str(file)!r}, row {cell.entry.label!r}: {error}") from None
    bench.open_table(folder, found.description(), found.base, found.entries)
    logging.getLogger("flwr").setLevel(logging.ERROR)  # importing Flower has set it to INFO
    with interruptible():
        if estimate:
            left = run_trials(cells, folder, workers, engine, sys.stderr).left()
            said = {"seconds": left.seconds, "cells": left.cells, "guessed": list(left.guessed)}
            typer.echo(json.dumps(said) if as_json else left.phrase() or _unknown(left.cells))
            return
        failed = run_all(cells, folder, workers, engine, sys.stderr, lambda: write_table(folder), tries=True)
    results = write_table(folder)
    write_figures(folder, results)
    write_study_figure(folder, results)
    typer.echo(json.dumps({"study": str(folder), **results}) if as_json else str(folder / "table.md"))
    end_with(failed)


def _list(cells: "list[Cell]", left: str, as_json: bool) -> None:
    from simulations.studies.cells import state_of

    states = [(cell, state_of(cell)) for cell in cells]
    if as_json:
        keys = ("row", "seed", "fold", "state", "run")
        values = [(cell.entry.label, cell.seed, cell.fold, state, str(cell.path)) for cell, state in states]
        typer.echo(json.dumps({"cells": [dict(zip(keys, one, strict=True)) for one in values], "left": left}))
        return
    for cell, state in states:
        typer.echo(f"{state:9} {cell.name}  {cell.path}")
    typer.echo(f"time: {left or 'not known yet; --estimate runs a few rounds on trial'}", err=True)


def _unknown(cells: int) -> str:
    return "nothing is left to do" if not cells else "not known: runs are too short for rounds on trial to tell"
