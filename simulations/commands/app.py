"""The command ``fedgan app``: what Flower's own commands need, where there is no checkout."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

_HERE = "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"  # else Flower builds another environment for each run


def app(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; new, or empty.")],
) -> None:
    """Write the folder that `flwr run DIR` takes: pyproject.toml, with all settings, and the code of both sides."""
    from simulations.deployment.flower_app import write_app
    from simulations.runs.output_place import new_folder

    with new_folder(folder) as temporary:
        write_app(temporary)
    typer.echo(f"{folder}  run it with: {_HERE}=1 flwr run {shlex.quote(str(folder))}")
