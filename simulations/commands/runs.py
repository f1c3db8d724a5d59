"""The commands ``fedgan runs``: which there are, how they differ, and what becomes of them."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common.errors import ConfigError
from simulations.commands.options import JsonOption, OverwriteOption
from simulations.commands.usage import Command, Group

if TYPE_CHECKING:
    from server.records.run_directory import RunDirectory
    from simulations.runs.run_view import View
    from simulations.serve.answers import RunSummary

runs = typer.Typer(
    cls=Group,
    invoke_without_command=True,
    rich_markup_mode=None,
    help="List, compare, archive or delete runs; alone it lists those below runs.",
)

FolderArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of run directories.")]
RunsArgument = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories.")]

_FACTS = ["state", "words", "round", "rounds", "algorithm", "model", "objective", "data", "partition", "seed"]
_FACTS += ["clients", "updated", "best", "scores", "scored-with"]
_UNITS = ("B", "kB", "MB", "GB", "TB")


@runs.callback()
def _alone(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_runs(Path("runs"))


@runs.command("list", cls=Command)
def list_runs(folder: FolderArgument = Path("runs"), as_json: JsonOption = False) -> None:
    """List the runs below a folder, the latest first: state, rounds, best score, algorithm, data, size."""
    from simulations.runs.archives import size_of
    from simulations.serve.library import Library
    from simulations.serve.summaries import read_summary

    found = [(record.run, read_summary(record)) for record in Library(folder).all().values()]
    found.sort(key=lambda pair: pair[1].updated, reverse=True)
    sizes = [size_of(run)[1] for run, _ in found]
    if as_json:
        rows = [
            {"run": str(run.path), "bytes": size, **_facts(summary)}
            for (run, summary), size in zip(found, sizes, strict=True)
        ]
        typer.echo(json.dumps({"runs": rows}))
        return
    if not found:
        typer.echo(f"no runs below {folder}", err=True)
        return
    head = ("run", "state", "rounds", "best", "algorithm", "data", "size")
    _table([head, *(_row(folder, run, one, size) for (run, one), size in zip(found, sizes, strict=True))])


@runs.command(cls=Command)
def compare(
    found: RunsArgument,
    every: Annotated[bool, typer.Option("--all", help="Show settings that are the same in all of them too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the settings in which runs differ, and their scores side by side."""
    from simulations.runs.run_reader import RunReader
    from simulations.serve.summaries import summary_of

    names = [str(path) for path in found]
    views = [RunReader(run.name, run).view() for run in _existing(found)]
    summaries = [summary_of(view) for view in views]
    settings = _settings(views, every)
    scores = {
        key: [summary.scores.get(key) for summary in summaries]
        for key in dict.fromkeys(key for summary in summaries for key in summary.scores)
    }
    if as_json:
        facts = [
            {"run": str(run.path), **_facts(summary)} for run, summary in zip(_existing(found), summaries, strict=True)
        ]
        typer.echo(json.dumps({"runs": facts, "settings": settings}))
        return
    rounds = [f"{one.round} of {one.rounds}" if one.rounds else str(one.round) for one in summaries]
    rows = [("", *names), ("state", *(one.state for one in summaries)), ("rounds", *rounds)]
    rows += [(key, *_different(key, list(map(_shown, values)))) for key, values in settings.items()]
    rows += [(key, *map(_shown, values)) for key, values in scores.items() if not any(map(_is_list, values))]
    _table(rows)
    if len({str(one.scored_with) for one in summaries if one.scores}) > 1:
        typer.echo(
            "their scores were made with different extractors or numbers of images: do not compare them", err=True
        )


@runs.command(cls=Command)
def archive(
    found: RunsArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A .tar.gz or a .zip.")],
    overwrite: OverwriteOption = False,
) -> None:
    """Write runs into one archive, which any program unpacks; the runs stay."""
    from simulations.runs import archives

    archives.archive(_existing(found), out, overwrite)
    typer.echo(f"{out}  {_size(out.stat().st_size)}")


@runs.command(cls=Command)
def delete(
    found: RunsArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete runs, with all that is in their folders, after a question."""
    from simulations.runs import archives

    chosen = _existing(found)
    for run in chosen:
        number, size = archives.size_of(run)
        typer.echo(f"{run.path}  {number} files, {_size(size)}", err=True)
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("nothing is deleted without an answer, and stdin is no terminal: add --yes")
        question = "Delete it" if len(chosen) == 1 else f"Delete these {len(chosen)} runs"
        if not typer.confirm(f"{question}? This cannot be undone", err=True):
            raise ConfigError("nothing is deleted")
    for run in chosen:
        archives.delete(run)
        typer.echo(f"deleted  {run.path}")


def _existing(paths: Sequence[Path]) -> "list[RunDirectory]":
    """Returns the run directories of these paths, each once.

    Raises:
        ConfigError: One is none.
    """
    from server.records.run_directory import RunDirectory

    return list({run.path: run for run in map(RunDirectory.existing, paths)}.values())


def _settings(views: "Sequence[View]", every: bool) -> dict[str, list[Any]]:
    """Returns the value of each setting in each run, where they differ or all are shown; places of files never."""
    keys = dict.fromkeys(key for view in views for key in view.settings if key not in ("output.dir", "output.resume"))
    values = {key: [view.settings.get(key) for view in views] for key in keys}
    return {key: found for key, found in values.items() if every or any(value != found[0] for value in found)}


def _different(key: str, values: list[str]) -> list[str]:
    """Returns the values of a setting, of components with only those of their options in which they differ."""
    from common.component_tables import TABLES

    if key not in TABLES or any("|" in value for value in values):
        return values
    words = [value.split() for value in values]
    shared = set.intersection(*(set(one[1:]) for one in words))
    return [" ".join(word for word in one if word not in shared) for one in words]


def _facts(summary: "RunSummary") -> Mapping[str, Any]:
    whole = summary.model_dump(mode="json", by_alias=True)
    return {key: whole[key] for key in _FACTS}


def _row(folder: Path, run: "RunDirectory", summary: "RunSummary", size: int) -> tuple[str, ...]:
    best = f"{summary.distance} {summary.best.value:.4g}" if summary.best else "-"
    rounds = f"{summary.round}/{summary.rounds}" if summary.rounds else str(summary.round)
    name = str(run.path.relative_to(Path.cwd())) if run.path.is_relative_to(Path.cwd()) else str(run.path)
    picked = [(text or "-").split()[0] for text in (summary.algorithm, summary.data)]
    return name, summary.state, rounds, best, *picked, _size(size)


def _table(rows: "Sequence[Sequence[str]]") -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value) or '""'


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _size(number: float) -> str:
    for unit in _UNITS:
        if number < 1000 or unit == _UNITS[-1]:
            break
        number /= 1000
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.3g} {unit}"
