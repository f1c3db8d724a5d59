"""The command ``fedgan sites``: which SuperNodes a SuperLink knows, and how to be rid of one."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from simulations.commands.options import JsonOption


def sites(
    federation: Annotated[str, typer.Argument(help="A SuperLink's name in Flower's config.toml.")],
    as_json: JsonOption = False,
) -> None:
    """List the sites of a federation: name, registered key, whether it is online, and how to remove it."""
    from simulations.deployment.superlink import SuperLink, check

    check(federation)
    nodes = SuperLink(federation).nodes()
    if as_json:
        typer.echo(json.dumps({"sites": [asdict(node) for node in nodes]}))
        return
    for node in nodes:
        since = f" since {node.since}" if node.since else ""
        typer.echo(f"{node.name or '(no name)'}: {node.status}{since}")
        typer.echo(f"    node    {node.id}")
        typer.echo(f"    key     {node.key or 'none'}")
        typer.echo(f"    remove  flwr supernode unregister {node.id} {federation}")
    online = sum(node.status == "online" for node in nodes)
    if nodes:
        typer.echo(f"{online} of {len(nodes)} known sites are online", err=True)
    else:
        typer.echo(
            f"no sites; register a key with: flwr supernode register SITE.pub {federation} --name SITE", err=True
        )
