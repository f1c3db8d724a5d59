"""The commands ``fedgan simulate``, which trains in this process, and ``fedgan submit``, for deployed clients."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.errors import ConfigError, TerminatedError, in_words
from simulations.commands.completion import presets
from simulations.commands.options import JsonOption, Overrides, WorkersOption, print_scores
from simulations.runtime.settings import read_overrides

if TYPE_CHECKING:
    from simulations.deployment.submit import Outcome


def simulate(
    preset: Annotated[
        str | None, typer.Argument(help="A preset's name, or a TOML file.", autocompletion=presets)
    ] = None,
    config: Overrides = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Run directory (output.dir).")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out DIR.")] = False,
    workers: WorkersOption = None,
    engine: Annotated[
        str,
        typer.Option(
            metavar="auto|threads|processes|batched|fastest",
            help="How clients are trained: each by itself, in threads or processes, to the same bits; several as one "
            "computation (batched), equal up to rounding; auto: whatever is fastest to the same bits; fastest: of all.",
        ),
    ] = "auto",
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the resolved configuration, and the plan of a private run; start nothing."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a federation in this process: of the preset quickstart unless another is named."""
    from simulations.runtime import launch

    overrides = read_overrides(config)
    if out is not None:
        overrides["output.dir"] = str(out)
    if resume:
        overrides["output.resume"] = True
    resolved, run = launch.resolve(preset, overrides)
    if dry_run:
        from simulations.runs.privacy_plan import plan_lines

        typer.echo(resolved.toml(), nl=False)
        for line in plan_lines(resolved):
            typer.echo(f"# {line}")
        return
    try:
        launch.train(resolved, run, workers, engine, sys.stderr)
    except (KeyboardInterrupt, TerminatedError) as error:
        if run.config.exists():
            again = "" if engine == "auto" else f" --engine {engine}"  # the run does not know it
            place = shlex.quote(str(run.path))
            typer.echo(f"{in_words(error)}; go on with: fedgan simulate --resume --out {place}{again}", err=True)
        raise
    summary = run.read_summary()
    if as_json:
        typer.echo(json.dumps({"run": str(run.path), **summary}))
        return
    print_scores(summary)
    typer.echo(f"report   {run.report}")
    samples = run.sample(summary["rounds"])
    if samples.exists():
        many = "--num 20 --out texts.txt" if samples.suffix == ".txt" else "--num 100 --out images.png"
        typer.echo(f"samples  {samples}")
        typer.echo(f"more     fedgan generate {shlex.quote(str(run.path))} {many}")


def submit(
    federation: Annotated[str, typer.Argument(help="A SuperLink's name in Flower's config.toml.")],
    config: Overrides = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Run directory on the server's host, absolute.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out DIR.")] = False,
    retries: Annotated[
        int, typer.Option("--retries", min=0, help="How often to go on from the last checkpoint when a run fails.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Run a federation of deployed clients: submit it to a SuperLink and follow it to its end."""
    from common.config import RunConfig
    from server.records.run_directory import RunDirectory
    from simulations.deployment import submit as submission
    from simulations.deployment.superlink import SuperLink, check

    overrides = read_overrides(config)
    if out is not None:
        if not Path(out).is_absolute():
            raise ConfigError(f"--out {out!r} is a folder on the server's host: give its absolute path")
        overrides["output.dir"] = out
    if resume:
        if not overrides.get("output.dir"):
            raise ConfigError("--resume needs --out DIR, the run directory to go on in")
        overrides["output.resume"] = True
        run = RunDirectory(Path(overrides["output.dir"]))
        if run.config.exists():  # on this very host: its configuration need not be given again
            overrides = run.read_config().flat() | overrides
    resolved = RunConfig.from_flat(overrides)
    check(federation)
    try:
        outcome = submission.submit(SuperLink(federation), resolved, retries, lambda line: typer.echo(line, err=True))
    except KeyboardInterrupt:
        typer.echo("no longer followed; the run goes on: see flwr list, end it with flwr stop", err=True)
        raise
    _print_outcome(outcome, as_json)
    if outcome.code:
        typer.echo(f"error: {outcome.reason}", err=True)
        raise typer.Exit(outcome.code)


def _print_outcome(outcome: "Outcome", as_json: bool) -> None:
    from simulations.deployment.submit import summary_in

    summary = summary_in(outcome.folder) if not outcome.code else None
    if as_json:
        typer.echo(json.dumps({"run": outcome.folder, "exit-code": outcome.code, **(summary or {})}))
        return
    if summary:
        print_scores(summary)
    if outcome.folder:
        typer.echo(f"run      {outcome.folder}" + ("" if summary else "  (on the server's host)"))
