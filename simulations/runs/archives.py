"""Run directories put away: into one archive that any program unpacks, or for ever."""

import os
import shutil
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from common.errors import BusyError, ConfigError
from server.records.run_directory import RunDirectory
from simulations.runs.output_place import check_target, new_file
from simulations.runs.run_folders import find_runs
from simulations.runs.run_reader import RunReader
from simulations.runs.status import state_of

ENDINGS = (".tar.gz", ".tgz", ".zip")


def size_of(run: RunDirectory) -> tuple[int, int]:
    """Returns how many files a run directory holds, and their bytes; what vanishes meanwhile is not counted."""
    sizes = []
    for path in _files(run.path):
        with suppress(OSError):
            sizes.append(path.stat().st_size)
    return len(sizes), sum(sizes)


def archive(runs: Sequence[RunDirectory], out: Path, overwrite: bool) -> None:
    """Writes run directories into one archive, in which each is a folder of its name; the runs stay.

    Args:
        runs: No two of them the same.
        out: A ``.tar.gz``, ``.tgz`` or ``.zip``; whole or not there.
        overwrite: Whether a file that is there may be replaced.

    Raises:
        ConfigError: Another ending; a place that cannot be written to; or a run that is still written to.
    """
    if not out.name.endswith(ENDINGS):
        raise ConfigError(f"{str(out)!r}: an archive's name ends with {', '.join(ENDINGS)}")
    check_target(out, overwrite)
    for run in runs:
        state, words = state_of(RunReader(run.name, run).view())
        if state in ("running", "waiting for nodes"):
            raise BusyError(f"{str(run.path)!r} is still written to: {words}")
    with new_file(out) as temporary:
        if out.suffix == ".zip":
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as packed:
                for path, name in _members(runs):
                    packed.write(path, name)
        else:
            with tarfile.open(temporary, "w:gz") as tar:
                for path, name in _members(runs):
                    tar.add(path, name, recursive=False, filter=_of_nobody)


def delete(run: RunDirectory) -> None:
    """Removes a run directory; where that is cut short, what is left is hidden, and no run any more.

    Raises:
        BusyError: A process is at work in it.
        ConfigError: It is a link, or holds other runs.
        OSError: It cannot be removed.
    """
    if run.path.is_symlink():
        raise ConfigError(f"{str(run.path)!r} is a link: name the folder that it leads to")
    if inside := [path for folder in _folders(run.path) for path in find_runs(folder)]:
        raise ConfigError(f"{str(run.path)!r} holds other runs, as {str(inside[0])!r}: delete or move these first")
    hidden = run.path.with_name(f".{run.path.name}.deleted")
    shutil.rmtree(hidden, ignore_errors=True)  # of a deletion that was cut short
    with run.locked():
        run.path.rename(hidden)
    shutil.rmtree(hidden)


def _members(runs: Sequence[RunDirectory]) -> Iterator[tuple[Path, str]]:
    """Yields each file and its name in the archive: below the run's own name, or where two share it, below more."""
    above = Path(os.path.commonpath([run.path.parent for run in runs]))
    names = [run.path.name for run in runs]
    for run in runs:
        top = Path(run.path.name) if names.count(run.path.name) == 1 else run.path.relative_to(above)
        for path in _files(run.path):
            yield path, (top / path.relative_to(run.path)).as_posix()


def _files(folder: Path) -> list[Path]:
    """Returns the files of a run: neither its lock, nor what is half written, nor links."""
    return sorted(
        Path(place) / name
        for place, _, names in os.walk(folder)
        for name in names
        if not name.startswith(".")
        and not name.endswith(".tmp")
        and (Path(place) / name).is_file()
        and not (Path(place) / name).is_symlink()
    )


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())


def _of_nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leaves the user's name out: whoever gets the archive need not know it."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
