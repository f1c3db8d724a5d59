"""The folder that Flower bundles for server and clients: a checkout, or, without one, a copy of what it needs."""

import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import ConfigError

TOP = Path(__file__).resolve().parents[2]
_IN_A_WHEEL = Path(__file__).with_name("flower_app.toml")  # pyproject.toml, put there as the wheel is built
_PACKAGES = ("client", "common", "server")


@contextmanager
def flower_app() -> Iterator[Path]:
    """Gives the folder for ``flwr run``: the checkout that this code is in, else a copy that goes when the block ends.

    Raises:
        ConfigError: There is no checkout, and no ``pyproject.toml`` among what was installed.
    """
    if is_checkout(TOP):
        yield TOP
        return
    with tempfile.TemporaryDirectory() as folder:
        write_app(Path(folder))
        yield Path(folder)


def write_app(folder: Path) -> None:
    """Writes what ``flwr run FOLDER`` needs: ``pyproject.toml``, with all settings, and the code of both sides.

    Args:
        folder: A folder that is there, and empty.

    Raises:
        ConfigError: What was installed lacks ``pyproject.toml``.
    """
    project = TOP / "pyproject.toml" if is_checkout(TOP) else _IN_A_WHEEL
    if not project.is_file():
        raise ConfigError(
            f"{TOP} has no pyproject.toml of fedgan's, which says what Flower is to send: install fedgan from its "
            "wheel, or from a checkout with pip install -e"
        )
    shutil.copyfile(project, folder / "pyproject.toml")
    for package in _PACKAGES:
        shutil.copytree(TOP / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))


def is_checkout(folder: Path) -> bool:
    """Returns whether a folder has fedgan's own ``pyproject.toml``, and not that of something beside it."""
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError):
        return False
    return bool(project.get("name") == "fedgan")
