"""The command ``fedgan``. Results on stdout, progress and errors on stderr, true exit codes."""

import logging
import os
import platform
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Annotated

import click
import typer

from common.errors import ConfigError, in_words
from simulations.commands.app import app as flower_app
from simulations.commands.audit import audit
from simulations.commands.benchmark import benchmark, results
from simulations.commands.completion import VARIABLE, completion
from simulations.commands.compress import compress
from simulations.commands.config import config
from simulations.commands.data import data, partition
from simulations.commands.export import export
from simulations.commands.generate import evaluate, generate
from simulations.commands.options import RunArgument
from simulations.commands.privacy import privacy
from simulations.commands.runs import runs
from simulations.commands.search import search
from simulations.commands.serve import inspect, serve
from simulations.commands.sites import sites
from simulations.commands.study import study
from simulations.commands.track import track
from simulations.commands.train import simulate, submit
from simulations.commands.usage import Command, Group
from simulations.runtime.streams import be_patient, settle

app = typer.Typer(
    cls=Group,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train generative models across clients that keep their data.",
)


def _say_versions(requested: bool) -> None:
    if requested:
        others = ", ".join(f"{name} {_version_of(name)}" for name in ("torch", "flwr"))
        typer.echo(f"fedgan {_version_of('fedgan')} (Python {platform.python_version()}, {others})")
        raise typer.Exit


def _version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # run from a copy that was not installed
        return "of no known version"


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks, and log more.")] = False,
    version: Annotated[
        bool, typer.Option("--version", "-V", is_eager=True, callback=_say_versions, help="Show the version.")
    ] = False,
) -> None:
    """Train generative models across clients that keep their data."""


def _add(*commands: Callable[..., None]) -> None:
    for command in commands:
        app.command(cls=Command)(command)


_add(simulate, submit, sites, generate, evaluate, audit, partition, data)


@app.command(cls=Command)
def components(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="model, objective, optimiser, algorithm, aggregate, weighting, partition, hooks or data.name."
        ),
    ] = None,
) -> None:
    """List every component with its options, defaults and source."""
    from common.component_tables import TABLES
    from common.components import suggestion

    if kind is not None and kind not in TABLES:
        owners = [name for name, table in TABLES.items() if kind in table]
        hint = f"it is a choice of {owners[0]}" if owners else suggestion(kind, TABLES)
        raise ConfigError(f"{kind!r}: no such kind of component; {hint}")
    for name, table in TABLES.items():
        if kind not in (None, name):
            continue
        typer.echo(name)
        for entry, component in table.items():
            summary = (component.__doc__ or "").strip().partition("\n")[0]
            typer.echo(f"  {entry}: {summary}")
            if component.source:
                typer.echo(f"      source: {component.source}")
            for key, field in component.model_fields.items():
                typer.echo(f"      {field.alias or key}={field.default}  {field.description or ''}")


@app.command(cls=Command)
def certificates(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; made if it is not there.")],
    host: Annotated[
        list[str] | None,
        typer.Option("--host", metavar="NAME", help="A name or IP address of the server; repeatable."),
    ] = None,
    sites: Annotated[int, typer.Option("--sites", min=0, help="Key pairs for site-0, site-1, ...")] = 0,
    site: Annotated[
        list[str] | None, typer.Option("--site", metavar="NAME", help="A key pair for this site; repeatable.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long the server's certificate holds.")] = 730,
) -> None:
    """Make the certificates and keys of a deployed federation, or add a site's key to them."""
    from simulations.deployment.certificates import Folder, describe, issue
    from simulations.runs.output_place import check_target

    check_target(folder, overwrite=True)  # in which no file is replaced
    names = [f"site-{k}" for k in range(sites)] + (site or [])
    place = Folder(folder)
    typer.echo(describe(place, issue(place, host or [], names, days), names))


@app.command(cls=Command)
def report(run: RunArgument) -> None:
    """Make a run's report page again from its journal."""
    from server.records.report import write_report
    from server.records.run_directory import RunDirectory

    typer.echo(str(write_report(RunDirectory.existing(run))))


_add(search, study, benchmark, results, serve, inspect, export, compress, track, privacy)
app.add_typer(runs, name="runs")
_add(config, flower_app, completion)


def main() -> None:
    """Runs the command line and exits: 0 done, 1 failed run, 2 bad usage, configuration or data, 130 interrupted."""
    be_patient()
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    logging.getLogger("flwr").setLevel(logging.INFO if debug else logging.ERROR)
    sys.exit(settle(_run(arguments, debug)))


def _run(arguments: list[str], debug: bool) -> int:
    if VARIABLE in os.environ:  # a shell requests what may come next
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()
    try:
        code = app(arguments or ["--help"], prog_name="fedgan", standalone_mode=False)
        return (code if isinstance(code, int) else 0) if arguments else 2
    except click.ClickException as error:
        typer.echo(f"error: {error.format_message()}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return 130
    except Exception as error:
        if debug:
            raise
        typer.echo(f"error: {in_words(error)}", err=True)
        return getattr(error, "exit_code", 1)


if __name__ == "__main__":
    main()
