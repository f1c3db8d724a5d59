"""The command ``fedgan compress``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from simulations.commands.generate import ClientOption, RoundOption
from simulations.commands.options import JsonOption, RunArgument, print_scores
from simulations.runs.sample_requests import LARGEST_SEED


def compress(  # noqa: PLR0913, PLR0917  a command has many options
    run: RunArgument,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder, which will be a run directory.")],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="'KEY=VALUE ...'",
            help="Options of the run's model that differ, as width=8.",
            show_default=False,
        ),
    ] = "",
    prune: Annotated[
        float, typer.Option("--prune", metavar="SHARE", help="Share of the weights to drop, as 0.5; default: none.")
    ] = 0.0,
    steps: Annotated[
        int | None, typer.Option("--steps", min=0, help="Of distillation, 64 examples each; default: 3000.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=LARGEST_SEED, help="Same seed, same generator.")] = 0,
    round: RoundOption = None,
    client: ClientOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a smaller generator out of a run's, without data: by distillation, pruning or both."""
    from simulations.compression.compress import Compression
    from simulations.compression.compress import compress as compressed
    from simulations.runs.generator import parse_round

    arguments = {"to": to, "prune": prune, "steps": steps, "seed": seed}
    request = Compression.of({name: value for name, value in arguments.items() if value is not None})
    summary = compressed(run, out, request, parse_round(round), client, lambda line: typer.echo(line, err=True))
    if as_json:
        typer.echo(json.dumps({"run": str(out.absolute()), **summary}))
        return
    for line in _in_words(summary["compressed"]):
        typer.echo(line, err=True)
    print_scores(summary)
    typer.echo(f"run      {out}")


def _in_words(made: Mapping[str, Any]) -> list[str]:
    """Returns a line each about the generator as it was, and as it is."""
    lines = []
    for when in ("before", "after"):
        row = made[when]
        zero = f" ({row['zero']:,} of them zero)" if row["zero"] else ""
        known = ("weights", "zero", "bytes", "packed-bytes", "milliseconds")
        figures = "".join(f", {name} {value:.4g}" for name, value in row.items() if name not in known)
        lines.append(
            f"{when:8} {row['weights']:>9,} weights{zero}, {row['bytes'] / 1000:,.0f} kB "
            f"({row['packed-bytes'] / 1000:,.0f} kB zipped), {row['milliseconds']:.3f} ms an example{figures}"
        )
    return lines
