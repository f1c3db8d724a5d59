"""The commands ``fedgan benchmark``, which fills a table, and ``fedgan results``, which makes a page of tables."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common.errors import ConfigError
from simulations.commands.options import EngineOption, Overrides, WorkersOption, end_with, interruptible
from simulations.runtime.settings import read_overrides

if TYPE_CHECKING:
    from common.config import RunConfig
    from simulations.benchmark.protocols import Protocol
    from simulations.studies.cells import Cell
    from simulations.studies.entries import Entry


def benchmark(  # noqa: PLR0913, PLR0917  an argument is an option of the command
    protocol: Annotated[
        str, typer.Argument(metavar="P1|P2|P3|P4|D1|S1|T1", help="Or any preset's name, or a TOML file.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where runs and tables go.")],
    algorithms: Annotated[
        str | None,
        typer.Option(
            "--algorithms",
            metavar="A,B",
            help="Rows: algorithms with any options, centralised, local-only, a variant of the protocol (of T1 lstm, "
            "ngram); default: all of them, or with --variant none.",
        ),
    ] = None,
    seeds: Annotated[str, typer.Option("--seeds", metavar="0,1,2|0-2", help="Roots of random numbers.")] = "0,1,2",
    budget: Annotated[str, typer.Option("--budget", metavar="cpu|full", help="How long each run is.")] = "cpu",
    data: Annotated[str | None, typer.Option("--data", metavar="ROOT", help="Where data sets are (data.root).")] = None,
    config: Overrides = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(
            "--variant", metavar="NAME='KEY=VALUE ...'", help="A row with these settings, for ablations; repeatable."
        ),
    ] = None,
    centralised: Annotated[
        list[str] | None,
        typer.Option("--centralised", metavar="'KEY=VALUE ...'", help="Other settings of centralised training."),
    ] = None,
    name: Annotated[
        str,
        typer.Option(
            "--name", metavar="NAME", help="Distinguishes tables of one protocol in --out, such as an ablation's."
        ),
    ] = "",
    workers: WorkersOption = None,
    engine: EngineOption = "threads",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs; start nothing.")] = False,
) -> None:
    """Run a protocol over algorithms and seeds, and write one table; the same command goes on after Ctrl-C."""
    from simulations.runtime.in_process import check_engine
    from simulations.studies import cells as bench
    from simulations.studies.entries import check_distinct

    check_engine(engine)
    which, base, overrides = _protocol(protocol, budget, data, config)
    entries = _entries(which, base, algorithms, variant, read_overrides(centralised))
    check_distinct(entries)
    stem = f"{which.id.lower()}-{budget}" + (f"-{name}" if name else "")
    if not all(character.isalnum() or character in "-_." for character in stem):
        raise ConfigError(f"--name {name!r}: it names a folder: use letters, digits, '-', '_' and '.'")
    folder = out.absolute() / stem
    cells = bench.plan(base, entries, bench.read_seeds(seeds, "--seeds"), folder)
    states = [bench.state_of(cell) for cell in cells]
    if dry_run:
        for cell, state in zip(cells, states, strict=True):
            typer.echo(f"{state:9} {cell.entry.label}  seed {cell.seed}  {cell.path}")
        return
    title = which.title + (f": {name}" if name else "")
    description = {"protocol": which.id, "budget": budget, "name": name, "title": title, "overrides": overrides}
    bench.open_table(folder, description, base, entries)
    logging.getLogger("flwr").setLevel(logging.ERROR)  # importing Flower has set it to INFO
    with interruptible():
        failed = _run_all(cells, base, folder, workers, engine)
    typer.echo(str(folder / "table.md"))
    end_with(failed)


def results(
    tables: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR...]", help="Folders of fedgan benchmark --out; none: only what is stored."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="PAGE.md", help="The page; JSON and figures go into a folder beside it.")
    ] = Path("docs/results.md"),
) -> None:
    """Make the page of results: stores compact tables and figures beside it, and writes it from these alone."""
    from simulations.benchmark.results_page import store, write_page

    for folder in tables or []:
        store(folder, out)
    typer.echo(str(write_page(out)))


def _protocol(
    name: str, budget: str, data: str | None, config: list[str] | None
) -> "tuple[Protocol, RunConfig, dict[str, Any]]":
    """Returns the protocol, its configuration, and what the user changed in it."""
    from common.config import RunConfig
    from simulations.benchmark.protocols import PROTOCOLS, Protocol, settings_of

    known, values = PROTOCOLS.get(name.upper()), settings_of(name, budget)
    overrides = read_overrides(config)
    values |= overrides
    if data is not None:
        values["data.root"] = data
    values["data.root"] = str(Path(values.get("data.root", "data")).expanduser().absolute())
    base = RunConfig.from_flat(values)
    if known is None:
        title = f"{base.data.name}, {base.federation.num_clients} clients, {base.partition}"
        known = Protocol(Path(name).stem, title, {})
    overrides.pop("data.root", None)  # where it is on one machine says nothing
    return known, base, overrides


def _entries(
    protocol: "Protocol",
    base: "RunConfig",
    algorithms: str | None,
    variants: list[str] | None,
    centralised: dict[str, Any],
) -> "list[Entry]":
    from simulations.benchmark.protocols import default_labels, make_entry, make_variant

    labels = [label.strip() for label in algorithms.split(",") if label.strip()] if algorithms is not None else None
    own = protocol.variants if labels is None and not variants else {}
    if labels is None:
        labels = [] if variants else list(protocol.labels) or default_labels(base)
    named = {label: protocol.variants[label] for label in labels if label in protocol.variants}
    entries = [make_entry(label, base, centralised) for label in labels if label not in named]
    entries += [make_variant(name, settings) for name, settings in {**own, **named}.items()]
    for text in variants or []:
        name, separator, settings = text.partition("=")
        if not separator:
            raise ConfigError(f"--variant {text!r} is not of the form NAME='KEY=VALUE ...'")
        entries.append(make_variant(name.strip(), read_overrides([settings]) if settings.strip() else {}))
    if not entries:
        raise ConfigError("no rows: name algorithms with --algorithms, or settings with --variant")
    return sorted(entries, key=lambda entry: entry.rank)


def _run_all(cells: "list[Cell]", base: "RunConfig", folder: Path, workers: int | None, engine: str) -> list[str]:
    """Runs what is not done, writes the table after each run, and returns a phrase for each run that failed."""
    from simulations.benchmark.real_baseline import real_images
    from simulations.studies.figures import write_figures
    from simulations.studies.running import run_all
    from simulations.studies.table_files import write_table

    typer.echo("real images in the same metrics, where they are not known yet", err=True)
    real = real_images(base, sorted({cell.seed for cell in cells}), folder.parent)
    failed = run_all(cells, folder, workers, engine, sys.stderr, lambda: write_table(folder, real))
    write_figures(folder, write_table(folder, real), real.with_suffix(".png"))
    return failed
