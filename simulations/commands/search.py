"""The command ``fedgan search``: settings searched by trials, each of them a run."""

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.errors import ConfigError
from simulations.commands.options import EngineOption, JsonOption, Overrides, interruptible
from simulations.runtime.settings import read_overrides

if TYPE_CHECKING:
    from simulations.runs.search_record import SearchRecord
    from simulations.search.plan import Plan

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def search(  # noqa: PLR0913, PLR0917  an argument is an option of the command
    preset: Annotated[str | None, typer.Argument(help="What is not searched: a preset's name, or a TOML file.")] = None,
    space: Annotated[
        Path | None, typer.Option("--space", metavar="FILE.toml", help="Which settings may take which values.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder of the search.")] = None,
    config: Overrides = None,
    trials: Annotated[int, typer.Option(min=1, help="How many trials to make.")] = 30,
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="How long the search may take in all, as 2h, 90m or 1h30m.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="The score to search for; default: the one that rounds are compared by.")
    ] = None,
    sampler: Annotated[str, typer.Option(metavar="tpe|random", help="What proposes settings.")] = "tpe",
    pruner: Annotated[
        str | None,
        typer.Option(
            metavar="hyperband|wilcoxon|none",
            help="What ends trials early that do badly; default: hyperband where rounds have the score.",
        ),
    ] = None,
    finalists: Annotated[int, typer.Option(min=0, help="How many of the best trials to repeat.")] = 3,
    seeds: Annotated[int, typer.Option(min=0, help="With how many other seeds each; their mean decides.")] = 3,
    side_by_side: Annotated[
        int, typer.Option("--side-by-side", min=1, help="Runs at a time, each in a process of its own.")
    ] = 1,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Clients at a time of a run; default: its share of the cores.")
    ] = None,
    engine: EngineOption = "threads",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what is searched, and three draws; start nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Search settings by trials, repeat the best with other seeds; the same command goes on after Ctrl-C."""
    from common.threads import available_cores
    from simulations.runs.search_record import SearchFolder
    from simulations.runtime.in_process import check_engine
    from simulations.search.conduct import conduct
    from simulations.search.plan import Limits
    from simulations.search.trials import Means

    check_engine(engine)
    if space is None:
        raise ConfigError("--space FILE.toml is missing: it says which settings may take which values (docs/search.md)")
    seconds = parse_time(budget) if budget is not None else None
    plan = _plan(preset, space, config, metric, sampler, pruner)
    if dry_run:
        _show(plan)
        return
    if out is None:
        raise ConfigError("--out DIR is missing: the folder of the search, where the same command goes on")
    folder = SearchFolder(out)
    limits = Limits(trials, seconds, finalists, seeds, side_by_side)
    if plan.own:
        typer.echo(f"trials are made with {', '.join(f'{key}=0' for key in plan.own)}: -c keeps it", err=True)
    with interruptible():
        record = conduct(
            folder,
            plan,
            limits,
            Means(workers or max(1, available_cores() // side_by_side), engine),
            sys.stderr,
            lambda line: typer.echo(line, err=True),
        )
    if as_json:
        said = record.model_dump(
            by_alias=True, mode="json", include={"metric", "trials", "seconds", "finalists", "best", "ended"}
        )
        typer.echo(json.dumps({"search": str(folder.path), "preset": str(folder.best), **said}))
        return
    _print(record, folder.best)


def parse_time(text: str) -> float:
    """Returns the seconds of a time as ``2h``, ``1.5h``, ``90m``, ``1h30m`` or ``45s``.

    Raises:
        ConfigError: It is none.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(min|[smhd])", text)
    left = re.sub(r"(\d+(?:\.\d+)?)\s*(min|[smhd])", "", text).strip()
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if left or not seconds:
        unit = f": with a unit, as {text.strip()}h or {text.strip()}m" if re.fullmatch(r"[\d.]+", text.strip()) else ""
        raise ConfigError(f"--budget {text!r} is no time, as 2h, 90m, 1h30m or 45s{unit}")
    return seconds


def _plan(
    preset: str | None, space: Path, config: list[str] | None, metric: str | None, sampler: str, pruner: str | None
) -> "Plan":
    from simulations.runtime import launch
    from simulations.search.plan import make_plan
    from simulations.search.space import read_space

    overrides = read_overrides(config)
    if given := [key for key in overrides if key.startswith("output.") and key in ("output.dir", "output.resume")]:
        raise ConfigError(f"{given[0]}: each trial has a folder of its own in --out DIR: leave it out")
    base, _ = launch.resolve(preset, overrides)
    return make_plan(
        preset or "quickstart",
        base,
        read_space(space),
        metric,
        sampler,
        pruner,
        is_set="evaluation.utility-num-samples" in overrides,
    )


def _show(plan: "Plan") -> None:
    """Prints what is searched, and three draws at random."""
    from simulations.search.results import spoken
    from simulations.search.study import draws

    for row in plan.record(0, None).parameters:
        values = ", ".join(map(str, row.choices)) if row.choices else f"{row.low:g} to {row.high:g}"
        typer.echo(f"{row.name:40} {values}{' (by its logarithm)' if row.log else ''}")
    for settings in draws(plan, 3):
        try:
            plan.base.replaced(settings)
            problem = ""
        except ConfigError as error:
            problem = f"  # left out: {error}"
        typer.echo(f"# as: {spoken(settings)}{problem}")


def _print(record: "SearchRecord", best: Path) -> None:
    """Prints the best trials, or the finalists where there are some, and how to go on."""
    from common.metrics import table
    from simulations.search.results import final_table

    for line in final_table(record, table.scores()[record.metric].decimals):
        typer.echo(line)
    typer.echo(f"preset   {best}")
    typer.echo(f"more     fedgan simulate {best}")
