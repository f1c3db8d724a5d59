"""The command ``fedgan``. Results on stdout, progress and errors on stderr, true exit codes."""

import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from common.errors import ConfigError, FedGANError
from simulations.benchmark_command import benchmark, results
from simulations.options import Overrides, read_overrides, read_preset
from simulations.serve.command import inspect, serve

if TYPE_CHECKING:
    from simulations.submit import Outcome

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train GANs across clients that keep their data.",
)

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")]
RoundOption = Annotated[
    str | None, typer.Option("--round", metavar="N|best", help="A round with a checkpoint; default: the last.")
]
ClientOption = Annotated[
    int | None, typer.Option("--client", help="A client's own generator, where clients keep theirs.")
]


@app.callback()
def _options(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks, and log more.")] = False) -> None:
    """Train GANs across clients that keep their data."""


@app.command()
def simulate(
    preset: Annotated[str | None, typer.Argument(help="A preset's name, or a TOML file.")] = None,
    config: Overrides = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Run directory (output.dir).")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out DIR.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Clients at a time; default: one a core.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved configuration; start nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a federation in this process: the preset quickstart unless told otherwise."""
    from common.config import RunConfig
    from server import journal

    overrides = read_overrides(config)
    if out is not None:
        overrides["output.dir"] = str(out)
    if resume:
        overrides["output.resume"] = True
    base = read_preset(preset or "quickstart")
    output = RunConfig.from_flat(base | overrides).output
    run = journal.resolve(output.dir, Path.cwd())
    if output.resume and not output.dir:
        raise ConfigError("--resume needs --out DIR, the run directory to go on in")
    if output.resume and preset is None and run.config.exists():
        base = run.read_config().flat()  # to go on, a run's own configuration need not be given again
    resolved = RunConfig.from_flat(base | overrides)
    if dry_run:
        typer.echo(resolved.toml(), nl=False)
        return
    run.check(output.resume)
    root = str(Path(resolved.data.root).expanduser().absolute())  # so that the run can be used from any folder
    resolved = resolved.replaced({"output.dir": str(run.path), "data.root": root})

    from simulations.engine import simulate as run_simulation

    logging.getLogger("flwr").setLevel(logging.ERROR)  # importing Flower has set it to INFO
    from simulations.progress import watching

    try:
        with watching(resolved, sys.stderr) as on_reply:
            run_simulation(resolved, num_workers=workers, on_reply=on_reply)
    except KeyboardInterrupt:
        if run.config.exists():
            typer.echo(f"interrupted; go on with: fedgan simulate --resume --out {_shell(run.path)}", err=True)
        raise
    summary = run.read_summary()
    if as_json:
        typer.echo(json.dumps({"run": str(run.path), **summary}))
        return
    _print_scores(summary["scores"])
    typer.echo(f"report   {run.report}")
    if run.sample(summary["rounds"]).exists():
        typer.echo(f"samples  {run.sample(summary['rounds'])}")
        typer.echo(f"more     fedgan generate {_shell(run.path)} --num 100 --out images.png")


@app.command()
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
    from server.journal import RunDirectory
    from simulations import submit as submission

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
    submission.check(federation)
    try:
        outcome = submission.submit(
            submission.SuperLink(federation), resolved, retries, lambda line: typer.echo(line, err=True)
        )
    except KeyboardInterrupt:
        typer.echo("no longer followed; the run goes on: see flwr list, end it with flwr stop", err=True)
        raise
    _print_outcome(outcome, as_json)
    if outcome.code:
        typer.echo(f"error: {outcome.reason}", err=True)
        raise typer.Exit(outcome.code)


@app.command()
def generate(
    run: RunArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A .npz, a .png grid, or a folder of PNGs.")],
    num: Annotated[int, typer.Option("--num", min=1, help="Images.")] = 100,
    label: Annotated[int | None, typer.Option("--label", help="Only images of this class.")] = None,
    balanced: Annotated[bool, typer.Option("--balanced", help="All classes in turn (the default).")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same images.")] = 0,
    round: RoundOption = None,
    client: ClientOption = None,
) -> None:
    """Make images with a run's generator."""
    import torch

    from common.generation import balanced_labels
    from common.generation import generate as make_images
    from simulations.trained import load_trained, parse_round
    from simulations.writers import write_images

    if label is not None and balanced:
        raise ConfigError("--label and --balanced exclude each other")
    trained = load_trained(run, parse_round(round), client)
    classes = trained.shape.num_classes
    if not trained.conditional and (label is not None or balanced):
        raise ConfigError("this run's generator is not conditional: it takes no --label, and cannot be --balanced")
    if label is not None and not 0 <= label < classes:
        raise ConfigError(f"--label {label}: the generator knows 0 to {classes - 1}")
    labels = torch.full((num,), label) if label is not None else balanced_labels(num, classes)
    images = make_images(trained.generator, labels, seed)
    if not trained.conditional:
        labels = torch.full((num,), -1)  # what the images show is not known
    columns = min(classes, 20) if trained.conditional and label is None and classes > 1 else 10
    write_images(images, labels, out, columns)
    typer.echo(str(out))


@app.command()
def evaluate(
    run: RunArgument,
    num: Annotated[int | None, typer.Option("--num", min=100, help="Generated images; default: the run's own.")] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="NAME", help="Other held-out images (data.name).")
    ] = None,
    root: Annotated[str | None, typer.Option("--root", metavar="DIR", help="Where they are (data.root).")] = None,
    metrics: Annotated[str | None, typer.Option("--metrics", metavar="A,B", help="Only these.")] = None,
    round: RoundOption = None,
    client: ClientOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a run's generator on held-out images."""
    from common.config import Scalar
    from server.evaluation import ALL, Evaluator
    from simulations.trained import load_trained, parse_round

    trained = load_trained(run, parse_round(round), client)
    changes: dict[str, Scalar] = {}
    if data is not None:
        changes["data.name"] = data
    if root is not None:
        changes["data.root"] = str(Path(root).expanduser().absolute())
    config = trained.config.replaced(changes)
    dataset = config.source.load(Path(config.data.root).expanduser(), image_size=config.data.image_size)
    if dataset.shape != trained.shape:
        raise ConfigError(f"--data {config.data.name!r} has {dataset.shape}, the generator makes {trained.shape}")
    names = tuple(name.strip() for name in metrics.split(",")) if metrics else ALL
    evaluator = Evaluator(config, dataset)
    for name in names if metrics else ():
        if reason := evaluator.reason_against(name):
            raise ConfigError(f"--metrics {name}: {reason}")
    scores = evaluator.score(trained.generator, names, num or config.evaluation.final_num_images)
    if as_json:
        typer.echo(json.dumps({"run": str(run.absolute()), "round": trained.round, "scores": scores}))
    else:
        _print_scores(scores)


@app.command()
def partition(
    preset: Annotated[str | None, typer.Argument(help="A preset's name, or a TOML file.")] = None,
    config: Overrides = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE.png", help="Draw it.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how a configuration splits its data: a row a client, a column a class."""
    from rich.console import Console
    from rich.table import Table

    from client.data import load, split
    from common.config import RunConfig
    from server.report import draw_partition

    resolved = RunConfig.from_flat(read_preset(preset or "quickstart") | read_overrides(config))
    dataset = load(resolved.data)
    clients: list[dict[str, Any]] = []
    for k, indices in enumerate(split(resolved)):
        counts = dataset.train.subset(indices).label_counts(dataset.shape.num_classes)
        clients.append({"partition": k, "num-examples": len(indices), "label-counts": counts})
    if plot is not None:
        draw_partition({"clients": clients}, plot)
        typer.echo(f"wrote {plot}", err=True)
    if as_json:
        typer.echo(json.dumps({"partition": resolved.partition, "classes": dataset.class_names, "clients": clients}))
        return
    table = Table(title=f"{resolved.data.name}, {resolved.partition}, seed {resolved.seed}")
    for heading in ("client", "images", *dataset.class_names):
        table.add_column(heading, justify="right")
    for row in clients:
        counts = [str(count) if count else "·" for count in row["label-counts"]]
        table.add_row(str(row["partition"]), str(row["num-examples"]), *counts)
    Console(width=None if sys.stdout.isatty() else 200).print(table)


@app.command()
def data(
    name: Annotated[str | None, typer.Argument(help="A data set; default: all of them, nothing is fetched.")] = None,
    root: Annotated[Path, typer.Option("--root", metavar="DIR", help="Where data sets are (data.root).")] = Path(
        "data"
    ),
) -> None:
    """Say which data sets are there, and fetch the named one where that is possible."""
    from common import components
    from common.datasets import DATASETS

    if name is None:
        for source in DATASETS.values():
            typer.echo(f"{source.component_name():14} {source().status(root)}")
        return
    source_of = components.parse("data.name", DATASETS, name)
    dataset = source_of.load(root, download=True)
    shape = dataset.shape
    typer.echo(
        f"{name}: {len(dataset.train):,} training and {len(dataset.test):,} held-out images, "
        f"{shape.size}x{shape.size}, {shape.channels} channel(s), {shape.num_classes} class(es)"
    )


@app.command()
def components(
    kind: Annotated[
        str | None, typer.Argument(help="model, objective, algorithm, aggregate, partition or data.name.")
    ] = None,
) -> None:
    """List every component with its options, defaults and source."""
    from common.components import suggestion
    from common.config import TABLES

    if kind is not None and kind not in TABLES:
        raise ConfigError(f"{kind!r}: no such kind of component; {suggestion(kind, TABLES)}")
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


@app.command()
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
    from simulations.certificates import Folder, describe, issue

    names = [f"site-{k}" for k in range(sites)] + (site or [])
    place = Folder(folder)
    typer.echo(describe(place, issue(place, host or [], names, days), names))


@app.command()
def report(run: RunArgument) -> None:
    """Make a run's report page again from its journal."""
    from server.journal import RunDirectory
    from server.report import write_report

    typer.echo(str(write_report(RunDirectory.existing(run))))


def _print_scores(scores: Mapping[str, Any]) -> None:
    if not scores:
        typer.echo("no scores")
    for key, value in scores.items():
        if isinstance(value, list):
            cells = ("  - " if v is None else str(v) if isinstance(v, int) else f"{v:.2f}" for v in value)
            typer.echo(f"{key:21}{' '.join(cells)}")
        else:
            typer.echo(f"{key:21}{value:.4g}")


def _print_outcome(outcome: "Outcome", as_json: bool) -> None:
    from simulations.submit import summary_in

    summary = summary_in(outcome.folder) if not outcome.code else None
    if as_json:
        typer.echo(json.dumps({"run": outcome.folder, "exit-code": outcome.code, **(summary or {})}))
        return
    if summary:
        _print_scores(summary["scores"])
    if outcome.folder:
        typer.echo(f"run      {outcome.folder}" + ("" if summary else "  (on the server's host)"))


def _shell(path: Path) -> str:
    import shlex

    return shlex.quote(str(path))


app.command()(benchmark)
app.command()(results)
app.command()(serve)
app.command()(inspect)


def main() -> None:
    """Runs the command line and exits: 0 done, 1 failed run, 2 bad usage or configuration, 130 interrupted."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    logging.getLogger("flwr").setLevel(logging.INFO if debug else logging.ERROR)
    sys.exit(_run(arguments, debug))


def _run(arguments: list[str], debug: bool) -> int:
    try:
        code = app(arguments, prog_name="fedgan", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        typer.echo(error.format_message())
        return 2
    except click.ClickException as error:
        typer.echo(f"error: {error.format_message()}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return 130
    except Exception as error:
        if debug:
            raise
        if isinstance(error, FedGANError | OSError):  # a full disk is no defect either
            typer.echo(f"error: {error}", err=True)
        else:
            typer.echo(f"error: {type(error).__name__}: {error} (a defect; --debug shows where)", err=True)
        return getattr(error, "exit_code", 1)


if __name__ == "__main__":
    main()
