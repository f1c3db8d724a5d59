"""The command ``fedgan export``."""

import json
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from common.errors import ConfigError
from simulations.options import JsonOption, RunArgument
from simulations.trained_command import ClientOption, RoundOption


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
        typer.Option("--fid-images", min=0, help="To measure each file's fid with; 0: not; default: the run's own."),
    ] = None,
    num: Annotated[int | None, typer.Option("--num", min=1, help="Images of a data set; default: 1000.")] = None,
    layout: Annotated[
        str | None, typer.Option("--layout", help="Of a data set: image-folder (the default), npz or parquet.")
    ] = None,
    validation: Annotated[
        float | None, typer.Option("--validation", help="Share of a data set to hold out; default: 0.1.")
    ] = None,
    label: Annotated[int | None, typer.Option("--label", help="Only images of this class in a data set.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of a data set's images; default: 0.")] = None,
    licence: Annotated[
        str, typer.Option("--licence", metavar="SPDX", help="Stated on the card; default: none.", show_default=False)
    ] = "",
    round: RoundOption = None,
    client: ClientOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a run's generator for other programs, or a labelled data set of its images; with a card."""
    from server.journal import RunDirectory
    from simulations.export.dataset import Wanted, export_dataset
    from simulations.export.model import FORMATS, export_model
    from simulations.export.network import PRECISIONS, Precision
    from simulations.trained import load_trained, parse_round

    if to != "dataset" and to not in FORMATS:
        raise ConfigError(f"--to {to}: {', '.join(FORMATS)}, or dataset")
    of_dataset = {"--num": num, "--layout": layout, "--validation": validation, "--label": label, "--seed": seed}
    of_model = {"--precision": precision, "--fid-images": fid_images}
    for name, value in (of_model if to == "dataset" else of_dataset).items():
        if value is not None:
            other = "a model" if to == "dataset" else "a data set (--to dataset)"
            raise ConfigError(f"{name} {value} is for {other}, not for --to {to}: leave it out")
    trained = load_trained(run, parse_round(round), client)
    directory = RunDirectory.existing(run)
    manifest: dict[str, Any]
    if to == "dataset":
        share = 0.1 if validation is None else validation
        wanted = Wanted(1000 if num is None else num, share, seed or 0, label)
        manifest = export_dataset(directory, trained, layout or "image-folder", out, wanted, licence=licence)
    else:
        names = PRECISIONS if precision is None else [part.strip() for part in precision.split(",") if part.strip()]
        precisions = [cast(Precision, name) for name in names]
        manifest = export_model(
            directory, trained, to, out, precisions=precisions, fid_images=fid_images, licence=licence
        )
    if as_json:
        typer.echo(json.dumps({"out": str(out.absolute()), **manifest}))
        return
    for line in _told(manifest):
        typer.echo(line, err=True)
    typer.echo(str(out))


def _told(manifest: dict[str, Any]) -> list[str]:
    if "layout" in manifest:
        return [f"{manifest['train']:,} training and {manifest['validation']:,} validation images"]
    lines = []
    for row in manifest["files"]:
        equal = f"{100 * row['agreement']['equal']:.3f} % of the bytes are equal"
        fid = "" if row["fid"] is None else f", fid {row['fid']:.4g} ({row['fid-loss']:+.3g})"
        lines.append(f"{row['file']:32} {row['bytes'] / 1000:7,.0f} kB, {equal}{fid}")
    if manifest["fid"]["own"] is None:
        lines.append(f"fid was not measured: {manifest['fid']['reason']}")
    return lines
