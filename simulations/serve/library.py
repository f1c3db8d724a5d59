"""Which runs there are: a name for each, looked up in a table, so that no name from a request becomes a path."""

import hashlib
import os
import re
import threading
import time
from pathlib import Path

from common.errors import ConfigError
from server.records.run_directory import RunDirectory
from simulations.runs.run_folders import find_runs_and_searches
from simulations.runs.run_reader import RunReader
from simulations.runs.search_record import SearchFolder, SearchReader

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_LOOK_EVERY = 2.0  # seconds between two looks for new runs


class Library:
    """The runs in a folder, or the one run that it is.

    Args:
        root: A run directory, or a folder of them.

    Raises:
        ConfigError: There is no such folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.abspath(root.expanduser()))
        if not self._root.is_dir():
            raise ConfigError(f"{str(root)!r} is no folder: name a run directory, or a folder of run directories")
        self._records: dict[str, RunReader] = {}
        self._searches: dict[str, SearchReader] = {}
        self._looked = float("-inf")
        self._lock = threading.Lock()

    def all(self) -> dict[str, RunReader]:
        """Returns every run by its name, in order of the names."""
        with self._lock:
            self._look()
            return self._records

    def searches(self) -> dict[str, SearchReader]:
        """Returns every search by its name, in order of the names."""
        with self._lock:
            self._look()
            return self._searches

    def id_of(self, path: Path) -> str:
        """Returns the name of a run directory; empty if there is no run in it."""
        name = self._name(path)
        return name if name in self.all() else ""

    def _look(self) -> None:
        if time.monotonic() - self._looked <= _LOOK_EVERY:
            return
        runs, searches = find_runs_and_searches(self._root)
        named = {self._name(path): path for path in runs}
        self._records = {
            name: self._records.get(name) or RunReader(name, RunDirectory(named[name])) for name in sorted(named)
        }
        of_searches = {self._name(path): path for path in searches}
        self._searches = {
            name: self._searches.get(name) or SearchReader(name, SearchFolder(of_searches[name]))
            for name in sorted(of_searches)
        }
        self._looked = time.monotonic()

    def get(self, name: str) -> RunReader | None:
        """Returns the run of that name; None if there is none."""
        return self.all().get(name)

    def _name(self, path: Path) -> str:
        parts = path.relative_to(self._root).parts or (self._root.name or "run",)
        if all(_PLAIN.fullmatch(part) for part in parts):
            return "~".join(parts)
        plain = "~".join(re.sub(r"[^A-Za-z0-9_.-]", "-", part) for part in parts)
        return f"{plain.lstrip('.-')}~{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"
