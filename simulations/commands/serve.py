"""The commands ``fedgan serve`` and ``fedgan inspect``. What they need is imported when they run."""

import math
import re
from pathlib import Path
from typing import Annotated

import typer

from common.errors import ConfigError
from simulations.serve.limits import Limits


def serve(
    root: Annotated[
        Path, typer.Argument(metavar="RUN|FOLDER", help="A run directory, or a folder of run directories.")
    ] = Path("runs"),
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; another than this machine's own needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0: a free one.")] = 8808,
    token: Annotated[
        str,
        typer.Option("--token", envvar="FEDGAN_TOKEN", help="Needed with every request.", show_default=False),
    ] = "",
    max_images: Annotated[
        int, typer.Option("--max-images", min=1, max=100_000, help="Images of one request.")
    ] = Limits.images,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, help="Seconds that a request may wait for images.")
    ] = Limits.seconds,
    root_path: Annotated[
        str,
        typer.Option(
            "--root-path", metavar="/PREFIX", help="That a proxy leaves before each path.", show_default=False
        ),
    ] = "",
) -> None:
    """Serve runs over HTTP: a page, their figures as they come, and images of their generators."""
    if not math.isfinite(timeout):  # which is neither below nor above a limit
        raise ConfigError(f"--timeout {timeout}: a number of seconds, 0.1 or more")
    if root_path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+/?", root_path):
        raise ConfigError(f"--root-path {root_path!r}: a path of plain letters, such as /fedgan")
    from simulations.serve.beginning import prepare

    prepare()
    from simulations.serve.listen import listen

    limits = Limits(images=max_images, waiting=max(4 * max_images, Limits.waiting), seconds=timeout)
    listen(root, host, port, token, limits, lambda line: typer.echo(line, err=True), root_path)


def inspect(file: Annotated[Path, typer.Argument(metavar="FILE", help="An image, an .npz, a .zip, or texts.")]) -> None:
    """Say where a generated example comes from, as its file says: one JSON object."""
    import json

    from simulations.runs import provenance

    if not file.is_file() and not (file / provenance.MANIFEST).is_file():
        reason = (
            "is a folder: name a file in it" if file.is_dir() else "is no file" if file.exists() else "no such file"
        )
        raise ConfigError(f"{str(file)!r}: {reason}")
    rows = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in provenance.read(file).items()]
    typer.echo("{\n" + ",\n".join(rows) + "\n}")
