"""Where a command writes what it makes: never over what is there unasked, never into a run, and whole or not at all."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from common.errors import ConfigError
from common.files import replacing


def check_target(out: Path, overwrite: bool = False, way_out: str = "add --overwrite") -> None:
    """Checks that a file or a folder may be written at a place.

    Args:
        out: The place.
        overwrite: Whether what is there may be replaced.
        way_out: What to do for that to be so, for the message; empty: nothing.

    Raises:
        ConfigError: It is in a run directory; or there is something already, other than an empty folder.
    """
    try:
        if run := _run_around(out):
            where = "is" if os.path.realpath(out) == str(run) else f"is in {str(run)!r},"
            raise ConfigError(f"{str(out)!r} {where} a run directory, which is the run's own: name a place outside")
        if not overwrite and os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
            other = "name a new folder, or an empty one" if out.is_dir() or not out.suffix else "name another file"
            raise ConfigError(f"{str(out)!r} is there already: {other}" + (f", or {way_out}" if way_out else ""))
    except OSError as error:
        raise _cannot(out, error) from None


@contextmanager
def new_file(out: Path) -> Iterator[Path]:
    """Gives a place to write a file to, in a folder that is made; it takes the name ``out`` when the block ends.

    Raises:
        ConfigError: It cannot be written.
    """
    try:
        if out.is_dir():
            raise ConfigError(f"{str(out)!r} is a folder: name a file")
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as temporary:
            yield temporary
    except OSError as error:
        raise _cannot(out, error) from None


@contextmanager
def new_folder(out: Path, stale: "re.Pattern[str] | None" = None) -> Iterator[Path]:
    """Gives a folder to write to; it takes the name ``out`` when the block ends, and is removed where it fails.

    Args:
        out: The folder; where it is there, it stays itself, with what else it holds.
        stale: Names of files in it that the new ones replace, if ``out`` is not to be new or empty; None: it is.

    Raises:
        ConfigError: It is in a run directory, is there and not empty where it has to be, or cannot be written.
    """
    check_target(out, overwrite=stale is not None, way_out="")
    out = out.absolute()
    try:
        inside = out.is_dir()
        temporary = out / ".fedgan.tmp" if inside else out.with_name(f".{out.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)  # of a command that was killed
        temporary.mkdir(parents=True)
        try:
            yield temporary
            if not inside:
                temporary.rename(out)
                return
            for path in out.iterdir():
                if stale is not None and stale.fullmatch(path.name):
                    path.unlink()
            for path in sorted(temporary.iterdir()):
                path.replace(out / path.name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise _cannot(out, error) from None


def _run_around(out: Path) -> Path | None:
    """Returns the run directory that a place is, or is in; None if there is none."""
    whole = Path(os.path.realpath(out))
    for folder in (whole, *whole.parents):
        with suppress(PermissionError):  # a folder of somebody else's, above one's own
            if (folder / "config.toml").is_file() and any(
                (folder / it).exists() for it in ("journal.jsonl", "checkpoints")
            ):
                return folder
    return None


def _cannot(out: Path, error: OSError) -> ConfigError:
    below = isinstance(error, FileExistsError | NotADirectoryError)
    return ConfigError(f"{str(out)!r} cannot be written: {'it is below a file' if below else error.strerror or error}")
