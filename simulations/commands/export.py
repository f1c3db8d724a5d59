"""The command ``fedgan export``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulations.commands.generate import ClientOption, RoundOption
from simulations.commands.options import JsonOption, RunArgument
from simulations.runs.sample_requests import LARGEST_SEED, MOST_IMAGES

if TYPE_CHECKING:
    from simulations.export.export_requests import DatasetExport, ModelExport


def export(  # noqa: PLR0913, PLR0917  a command has many options
    run: RunArgument,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder.")],
    to: Annotated[str, typer.Option("--to", help="onnx, torch-export, safetensors, or dataset.")],
    precision: Annotated[
        str | None,
        typer.Option("--precision", metavar="A,B", help="Of the weights; default: float32,float16,int8, a file each."),
    ] = None,
    fid_images: Annotated[
        int | None,
        typer.Option(
            "--fid-images",
            min=0,
            max=MOST_IMAGES,
            help="To measure each file's fid with (of text: held-out rows, for bits a character); 0: not; default: the "
            "run's own.",
        ),
    ] = None,
    num: Annotated[
        int | None, typer.Option("--num", min=1, max=MOST_IMAGES, help="Examples of a data set; default: 1000.")
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            "--layout",
            help="Of images: image-folder (default), npz, parquet; of texts: jsonl (default), parquet.",
        ),
    ] = None,
    validation: Annotated[
        float | None, typer.Option("--validation", help="Share of a data set to hold out; default: 0.1.")
    ] = None,
    label: Annotated[int | None, typer.Option("--label", help="Only this class in a data set.")] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, max=LARGEST_SEED, help="Of a data set's examples; default: 0.")
    ] = None,
    licence: Annotated[
        str, typer.Option("--licence", metavar="SPDX", help="Stated on the card; default: none.", show_default=False)
    ] = "",
    round: RoundOption = None,
    client: ClientOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a run's generator for other programs, or a labelled data set that it makes; with a card."""
    from simulations.export.export_requests import parse

    arguments = {
        "precisions": precision,
        "fid_images": fid_images,
        "num": num,
        "layout": layout,
        "validation": validation,
        "label": label,
        "seed": seed,
        "licence": licence,
    }
    request = parse(to, {name: value for name, value in arguments.items() if value is not None})
    manifest = _write(run, round, client, out, request)
    if as_json:
        typer.echo(json.dumps({"out": str(out.absolute()), **manifest}))
        return
    for line in _in_words(manifest):
        typer.echo(line, err=True)
    typer.echo(str(out))


def _write(
    run: Path, round: str | None, client: int | None, out: Path, request: "DatasetExport | ModelExport"
) -> dict[str, Any]:
    """Writes the export, and returns its manifest."""
    from server.records.run_directory import RunDirectory
    from simulations.export.dataset import export_dataset
    from simulations.export.export_requests import DatasetExport
    from simulations.export.model import export_model
    from simulations.runs.generator import load_trained, parse_round

    trained = load_trained(run, parse_round(round), client)
    directory = RunDirectory.existing(run)
    if isinstance(request, DatasetExport):
        return export_dataset(directory, trained, out, request)
    return export_model(directory, trained, out, request)


def _in_words(manifest: dict[str, Any]) -> list[str]:
    if "layout" in manifest:
        return [f"{manifest['train']:,} training and {manifest['validation']:,} validation {manifest['examples']}"]
    lines = []
    names = manifest["measured"]
    main = names[0]
    for row in manifest["files"]:
        equal = f"{100 * row['agreement']['equal']:.3f} % of the {manifest['compared']} are equal"
        figures = [f", {name.replace('-', ' ')} {row[name]:.4g}" for name in names if row[name] is not None]
        if figures:
            figures[0] += f" ({row[f'{main}-loss']:+.3g})"
        lines.append(f"{row['file']:32} {row['bytes'] / 1000:7,.0f} kB, {equal}{''.join(figures)}")
    if manifest[main]["own"] is None:
        lines.append(f"{main.replace('-', ' ')} was not measured: {manifest[main]['reason']}")
    return lines
