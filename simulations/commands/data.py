"""The commands ``fedgan data`` and ``fedgan partition``: look at data before a run."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulations.commands.options import JsonOption, Overrides, OverwriteOption
from simulations.runtime.settings import likely_source, read_overrides, read_preset

if TYPE_CHECKING:
    from common.datasets import Dataset

_PRESETS = ("quickstart", "shakespeare")
"""A preset for each kind of example; what is not said otherwise is of the first."""

_MOST_COLUMNS = 20  # classes with a column each
_ALL_AT_A_TIME = 10  # clients


def data(
    name: Annotated[
        str | None,
        typer.Argument(help="A data set, with options if need be; default: all of them, nothing is fetched or read."),
    ] = None,
    root: Annotated[
        str | None, typer.Option("--root", metavar="PLACE", help="The folder or file it is in (data.root).")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option("--image-size", metavar="S", help="Crop and resize to SxS pixels (data.image-size).")
    ] = None,
    config: Overrides = None,
) -> None:
    """Say which data sets are there; fetch the named one if need be, and check that a run can train on it."""
    from common.config import RunConfig
    from common.datasets import DATASETS
    from common.errors import ConfigError

    given = read_overrides(config)
    arguments = (
        ("data.name", name, "NAME"),
        ("data.root", root, "--root"),
        ("data.image-size", image_size, "--image-size"),
    )
    for key, value, word in arguments:
        if value is None:
            continue
        if given.get(key, value) != value:
            raise ConfigError(f"{word} says {value!r}, and -c {key}={given[key]!r}: give one of them")
        given[key] = value
    if name is not None and name not in DATASETS and Path(name).exists():
        kind = likely_source(Path(name))
        raise ConfigError(f"{name!r} is a place, not a data set: fedgan data {kind} --root {shlex.quote(name)}")
    if "data.name" not in given:
        place = Path(str(given.get("data.root", RunConfig().data.root)))
        for source in DATASETS.values():
            typer.echo(f"{source.component_name():14} {source().status(place)}")
        typer.echo("Check one, before a run does: fedgan data NAME --root PLACE", err=True)
        return
    _check(given)


def _check(given: dict[str, Any]) -> None:
    """Loads the data of some settings, and says whether a run can train on them, and how to start it.

    Raises:
        FedGANError: It cannot; what ``fedgan simulate`` would say.
    """
    from client.data import load
    from common.config import RunConfig
    from common.datasets.base import listed
    from server.evaluation.evaluator import extractor_of
    from simulations.runtime import launch

    dataset = load(RunConfig.from_flat(read_preset("quickstart") | given).data)
    spec = dataset.spec
    preset = _preset_of(spec.kind)
    kinds = f"{spec.num_classes} class(es)" if dataset.labelled else "no labels"
    typer.echo(
        f"{dataset.name}: {len(dataset.train):,} training and {len(dataset.test):,} held-out {spec.nouns[1]}, "
        f"{spec.form}, {kinds}"
    )
    if dataset.source_names:
        num = len(dataset.source_names)
        typer.echo(f"  {num:,} source{'s' * (num > 1)}: {listed(dataset.source_names, 5)}")
    _tell(dataset)
    given = _split_of(dataset, read_preset(preset), given)
    resolved = RunConfig.from_flat(read_preset(preset) | given)
    if resolved.partitioner.needs_labels and not dataset.labelled and "partition" not in given:
        given = {**given, "partition": "iid"}
        resolved = resolved.replaced({"partition": "iid"})
    launch.check(resolved)
    extractor_of(resolved, spec)
    words = " ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in given.items())
    named = "" if preset == _PRESETS[0] else f"{preset} "
    typer.echo(f"ready: fedgan simulate {named}-c {shlex.quote(words)}")


def _split_of(dataset: "Dataset", preset: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Returns what is given, with fewer clients than the preset where it gives each a source and there are fewer."""
    sources = 0 if dataset.train_sources is None else len(set(dataset.train_sources.tolist()))
    if preset.get("partition") != "by-source" or {"partition", "federation.num-clients"} & given.keys():
        return given
    clients: dict[str, Any] = {"federation.num-clients": sources} if sources < preset["federation.num-clients"] else {}
    if sources < 2:
        clients = {"partition": "iid", "federation.num-clients": min(_ALL_AT_A_TIME, len(dataset.train))}
    if clients.get("federation.num-clients", sources) <= _ALL_AT_A_TIME:
        clients["federation.fraction"] = 1.0
    return given | {key: value for key, value in clients.items() if key not in given}


def _preset_of(kind: str) -> str:
    """Returns the preset whose settings go with a kind of example; the first where none makes any of it."""
    from common.config import RunConfig

    makes = {name: RunConfig.from_flat(read_preset(name)).model_component.kind for name in _PRESETS}
    return next((name for name in _PRESETS if makes[name] == kind), _PRESETS[0])


def partition(
    preset: Annotated[str | None, typer.Argument(help="A preset's name, or a TOML file.")] = None,
    config: Overrides = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE.png", help="Draw it.")] = None,
    as_json: JsonOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Show how a configuration splits its data: a row a client, a column a class."""
    from client.data import load, source_name, split
    from common.config import RunConfig
    from common.errors import ConfigError
    from server.records.plots import draw_partition
    from simulations.runs.output_place import check_target

    if plot is not None:
        check_target(plot, overwrite)
        if plot.is_dir():
            raise ConfigError(f"--plot {str(plot)!r} is a folder: name a file in it")
    resolved = RunConfig.from_flat(read_preset(preset or "quickstart") | read_overrides(config))
    dataset = load(resolved.data)
    _tell(dataset, err=True)
    clients: list[dict[str, Any]] = []
    for k, indices in enumerate(split(resolved)):
        counts = dataset.train.view(indices).label_counts(dataset.spec.num_classes)
        name = source_name(resolved.partitioner, dataset, indices)
        site = {"site": name} if name else {}
        clients.append({"partition": k, **site, "num-examples": len(indices), "label-counts": counts})
    if plot is not None:
        shape = dataset.spec.record()
        draw_partition({"class-names": dataset.class_names, "shape": shape, "clients": clients}, plot)
        typer.echo(f"wrote {plot}", err=True)
    if as_json:
        typer.echo(json.dumps({"partition": resolved.partition, "classes": dataset.class_names, "clients": clients}))
        return
    title = f"{resolved.data.name}, {resolved.partition}, seed {resolved.seed}"
    _print_table(title, dataset.spec.nouns[1], dataset.class_names, clients)


def _tell(dataset: "Dataset", err: bool = False) -> None:
    for remark in dataset.remarks:
        typer.echo(f"  {remark}", err=err)


def _print_table(title: str, examples: str, names: tuple[str, ...], clients: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    few = len(names) <= _MOST_COLUMNS
    table = Table(title=title)
    named = any("site" in row for row in clients)
    table.add_column("client", justify="right")
    if named:
        table.add_column("source")
    for heading in (examples, *(names if few else ("classes held", f"most {examples} of"))):
        table.add_column(heading, justify="right")
    for row in clients:
        counts: list[int] = row["label-counts"]
        if few:
            cells = [str(count) if count else "." for count in counts]
        else:
            most = max(range(len(counts)), key=counts.__getitem__)
            cells = [f"{sum(map(bool, counts))} of {len(names)}", f"{names[most]} ({counts[most]})"]
        site = [escape(row.get("site", ""))] if named else []
        table.add_row(str(row["partition"]), *site, str(row["num-examples"]), *cells)
    sizes = sorted(row["num-examples"] for row in clients)
    table.caption = f"{sizes[0]:,} to {sizes[-1]:,} {examples} a client, {sizes[len(sizes) // 2]:,} in the middle"
    Console(width=None if sys.stdout.isatty() else 200).print(table)
