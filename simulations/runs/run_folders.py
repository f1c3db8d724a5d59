"""Which folders below one are runs and searches; links are not followed, so that nothing outside of it is found."""

import os
from pathlib import Path

from simulations.runs.search_record import RECORD

_SIGNS = frozenset({"config.toml", "journal.jsonl"})  # of a run directory, also of one that has lost a file
_DEEPEST = 4  # folders between the given one and a run: a benchmark has protocol, algorithm, seed
_MOST_FOLDERS = 20_000


def find_runs(root: Path) -> list[Path]:
    """Returns the run directories in a folder, or the one that it is; none where there is no such folder."""
    return find_runs_and_searches(root)[0]


def find_runs_and_searches(root: Path) -> tuple[list[Path], list[Path]]:
    """Returns the run directories in a folder, and the folders of searches, whose trials are run directories."""
    found: list[Path] = []
    searches: list[Path] = []
    for seen, (folder, below, files) in enumerate(os.walk(root)):
        path = Path(folder)
        depth = len(path.relative_to(root).parts)
        is_run = not _SIGNS.isdisjoint([*files, *below])  # whatever has taken a file's place
        if is_run:
            found.append(path)
        elif RECORD in files:
            searches.append(path)
        if is_run or depth >= _DEEPEST or seen > _MOST_FOLDERS:
            below.clear()
        below[:] = sorted(name for name in below if not name.startswith("."))
    return found, searches
