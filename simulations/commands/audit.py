"""The command ``fedgan audit``: attack a run's generator, and say what it gives away of its clients' examples."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from simulations.commands.generate import RoundOption
from simulations.commands.options import JsonOption, RunArgument
from simulations.runs.sample_requests import MOST_IMAGES

_MOST_ROWS = 40  # clients in a table; of more, the most exposed


def audit(
    run: RunArgument,
    round: RoundOption = None,
    num: Annotated[
        int | None,
        typer.Option("--num", min=100, max=MOST_IMAGES, help="Generated images to look for copies in; default: 2000."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Attack a simulated run: what does it give away of its examples? Exit code 1: it breaks its promise of privacy."""
    from server.records.generator_weak_spots import client_names
    from server.records.run_directory import RunDirectory
    from simulations.runs.audit import audit as audited
    from simulations.runs.generator import parse_round

    found = audited(run, parse_round(round), num, _progress if sys.stderr.isatty() else None)
    if as_json:
        typer.echo(json.dumps({"run": str(run.absolute()), **found}))
    else:
        print_audit(found, client_names(RunDirectory.existing(run).read_partition()))
    if found["refuted"]:
        raise typer.Exit(1)


def _progress(done: int, total: int) -> None:
    typer.echo(f"\rclient {done} of {total}{'' if done < total else chr(10)}", nl=False, err=True)


def print_audit(found: Mapping[str, Any], names: Mapping[int, str]) -> None:
    """Prints what an audit found: a row a client, what it means in sentences, and on stderr what is missing.

    Args:
        found: See ``common.queries.findings``.
        names: What people call clients, by partition.
    """
    from rich.console import Console
    from rich.table import Table

    from common.metrics import Names
    from common.metrics.membership import MEMBERSHIP, NEAREST, NETWORKS

    rows: Sequence[Mapping[str, Any]] = found["clients"]
    if len(rows) > _MOST_ROWS:
        rows = sorted(rows, key=lambda row: -max(row[which]["auc"] for which in (NEAREST, NETWORKS) if which in row))
        rows = rows[:_MOST_ROWS]
    if rows:
        table = Table(title=f"After round {found['round']}: chance is an AUC of .5, and .01 found")
        table.add_column("client", justify="right")
        table.add_column("copies, z\n(below -3: yes)", justify="right")
        for heading in ("nearest generated image", "the server's networks"):
            table.add_column(f"{heading}\nAUC and 95 % interval", justify="right")
            table.add_column("found at 1 % false\nand 95 % interval", justify="right")
        for row in rows:
            copies = row.get("copies")
            cells = ["-" if copies is None else f"{copies:.1f}"]
            for which in (NEAREST, NETWORKS):
                cells += _cells(row.get(which))
            table.add_row(str(row["partition"]), *cells)
        Console(width=None if sys.stdout.isatty() else 160).print(table)
    for sentence in MEMBERSHIP.weak_spots(found["scores"], Names(clients=names)):
        typer.echo(sentence)
    if canaries := found["canaries"]:
        typer.echo(
            f"  {canaries['num-right']} of {canaries['num-guesses']} guesses about {canaries['num-canaries']} canaries "
            f"are right (delta {canaries['delta']:g})."
        )
    _say_of_promise(found)
    for sentence in found["missing"]:
        typer.echo(f"note: {sentence}", err=True)


def _say_of_promise(found: Mapping[str, Any]) -> None:
    if (promised := found["promised-epsilon"]) is not None:
        if found["refuted"]:
            typer.echo(
                f"The promise of epsilon={promised:g} is refuted, with 95 % confidence: noise is missing, or the "
                "arithmetic is wrong. Do not publish this model."
            )
        typer.echo(
            "note: this audit looked at the clients' examples, so the run's promise does not cover its figures: they "
            "are of a simulation, and not to be published of private data",
            err=True,
        )


def _cells(attack: Mapping[str, float] | None) -> list[str]:
    if attack is None:
        return ["-", "-"]
    return [
        f"{attack['auc']:.3f} ({attack['auc-low']:.3f} to {attack['auc-high']:.3f})",
        f"{attack['rate']:.3f} ({attack['rate-low']:.3f} to {attack['rate-high']:.3f})",
    ]
