"""The command ``fedgan privacy``: what a run has released of its clients' examples, and what that has cost."""

import json
from dataclasses import asdict

import typer

from simulations.commands.options import JsonOption, RunArgument


def privacy(run: RunArgument, as_json: JsonOption = False) -> None:
    """List all that left the clients of a run, with its mechanism and its cost in privacy."""
    from server.records import privacy_words
    from server.records.run_directory import RunDirectory

    directory = RunDirectory.existing(run)
    config, ledger = directory.read_config(), privacy_words.ledger_of(directory)
    found = privacy_words.releases(config, directory.read_partition(), ledger)
    off = privacy_words.switched_off(config)
    spent = ledger.summary() if ledger else None
    if as_json:
        said = {"run": str(directory.path), "promise": config.privacy, "releases": [asdict(one) for one in found]}
        typer.echo(json.dumps({**said, "switched-off": off, "spent": spent}))
        return
    typer.echo(f"promise  {config.privacy}")
    if not config.privacy_component.private:
        typer.echo("Nothing is promised: no bound is known on what left the clients.")
    for one in found:
        typer.echo(f"\n{one.what}\n  mechanism  {one.mechanism}\n  cost       {one.cost}")
    if off:
        typer.echo("\nswitched off: " + "; ".join(off))
    if spent:
        typer.echo(f"\n{'client':>8} {'epsilon':>8} {'uses':>8} {'noise':>8} {'rate':>8}  noise from")
        for row in spent["clients"]:
            whose = "any" if row["partition"] is None else row["partition"]
            typer.echo(
                f"{whose:>8} {row['epsilon']:>8.3f} {row['releases']:>8,} {row['noise-multiplier']:>8.3f} "
                f"{row['rate']:>8.4f}  {privacy_words.noise_from(row['noise'], spent['unit'])}"
            )
