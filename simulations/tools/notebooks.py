"""Executes the notebooks of the documentation and stores outputs: ``python -m simulations.tools.notebooks [NAME ...]``.

Each runs in a folder of its own, which is gone afterwards, with the checkout's code. Where a cell fails, nothing is
stored. It needs the extra ``docs``.
"""

import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "docs" / "notebooks"

_CELL_SECONDS = 300
_ELSEWHERE = "/home/you"  # what outputs say in place of the folder
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def execute(notebook: Path, folder: Path) -> NotebookNode:
    """Returns a notebook with the outputs of all its cells, which name no place of this machine.

    Args:
        notebook: The file; it stays as it is.
        folder: Where its cells run; an empty folder.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed; says which, with its traceback.
    """
    book: NotebookNode = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(
        book, timeout=_CELL_SECONDS, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env=_environment(folder))
    for cell in book.cells:
        cell.metadata.pop("execution", None)  # when each began
        if "outputs" in cell:
            cell.outputs = _merged([_without_place(output, folder) for output in cell.outputs])
    book.metadata.get("language_info", {}).pop("version", None)
    return book


def _environment(folder: Path) -> dict[str, str]:
    """Returns what the cells see: this code and this Python's programs first, and nothing of the user's own."""
    paths = {"PYTHONPATH": str(ROOT), "PATH": str(Path(sys.executable).parent)}
    joined = {name: os.pathsep.join(filter(None, (path, os.environ.get(name)))) for name, path in paths.items()}
    return os.environ | joined | {"IPYTHONDIR": str(folder / ".ipython"), "OMP_NUM_THREADS": "1"}


def _without_place(value: Any, folder: Path) -> Any:
    if isinstance(value, str):
        return _COLOURS.sub("", value.replace(str(folder), _ELSEWHERE))
    if isinstance(value, dict):
        return nbformat.from_dict({key: _without_place(inner, folder) for key, inner in value.items()})  # type: ignore[no-untyped-call]
    return [_without_place(inner, folder) for inner in value] if isinstance(value, list) else value


def _merged(outputs: Sequence[NotebookNode]) -> list[NotebookNode]:
    """Returns outputs in which a stream that came in pieces is one, so that the same outputs are the same file."""
    found: list[NotebookNode] = []
    for output in outputs:
        if found and output.output_type == "stream" and found[-1].get("name") == output.name:
            found[-1].text += output.text
        else:
            found.append(output)
    return found


def main(arguments: Sequence[str]) -> None:
    """Executes the notebooks of these names, or all, and stores them with their outputs."""
    for path in [NOTEBOOKS / f"{name}.ipynb" for name in arguments] or sorted(NOTEBOOKS.glob("*.ipynb")):
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            book = execute(path, Path(folder))
        nbformat.write(book, path)  # type: ignore[no-untyped-call]
        sys.stdout.write(f"{path.relative_to(ROOT)}  {time.monotonic() - begun:.0f} s\n")


if __name__ == "__main__":
    main(sys.argv[1:])
