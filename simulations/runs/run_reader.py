"""Reads a run directory: what it says, kept in memory and brought up to date at each look. It is never written to."""

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from common.config import RunConfig, Scalar
from common.config_values import flatten
from common.errors import ConfigError
from common.files import read_file, read_toml
from common.journal_lines import JournalLine, is_event, is_round
from server import checkpoint
from server.records import json_values, run_files
from server.records.run_directory import RunDirectory
from simulations.runs.journal_columns import Columns
from simulations.runs.journal_tail import Tail
from simulations.runs.round_status import RoundStatus
from simulations.runs.run_view import View

_LONGEST_FILE = 64 * 2**20
_MOST_NAMED = 3
_SAMPLE = re.compile(r"round-[0-9]{4,9}\.(?:png|txt)")
_LOCKS = Path("/proc/locks")
_NAMESPACE, _FIRST_NAMESPACE = "/proc/self/ns/pid", 0xEFFFFFFC  # that of the machine itself, by Linux's own number


class RunReader:
    """One run directory.

    Args:
        name: In addresses.
        run: Where it is.
    """

    def __init__(self, name: str, run: RunDirectory) -> None:
        self.name = name
        self.run = run
        self._tail = Tail(run.journal)
        self._journal: list[JournalLine] = []
        self._columns, self._whole = Columns(), Columns()
        self._cuts = 0
        self._read: dict[Path, tuple[object, Any]] = {}
        self._lock = threading.Lock()

    @property
    def offset(self) -> int:
        """Where the last whole line of the journal ends, in bytes; 0 before the first look."""
        return self._tail.offset

    def view(self) -> View:
        """Returns the run as it is now; what has not changed on disk is not read again."""
        with self._lock:
            self._follow()
            config, settings, problem = self._config()
            roster, of_roster = self._file(self.run.partition, run_files.roster)
            summary, of_summary = self._file(self.run.summary, run_files.summary)
            audit, of_audit = self._file(self.run.audit, run_files.audit)
            now, of_now = self._file(self.run.now, _now)
            problems = [problem] if problem else []
            return View(
                self.name,
                config,
                settings,
                list(self._journal),
                [line for line in self._journal if is_round(line)],
                self._whole,
                [line for line in self._journal if is_event(line)],
                roster=roster or {},
                summary=run_files.with_audit(summary or {}, audit or {}),
                now=now,
                sample_rounds=(sampled := _sample_rounds(self.run)),
                samples_are_text=bool(sampled) and self.run.sample(sampled[-1]).suffix == ".txt",
                checkpoint_rounds=[checkpoint.round_of(p) for p in checkpoint.list_checkpoints(self.run.checkpoints)],
                at_work=held(self.run.path / ".lock"),
                began=_modified(self.run.path / ".lock"),
                roster_at=_modified(self.run.partition),
                updated=max(
                    _modified(p) or 0.0 for p in (self.run.journal, self.run.config, self.run.summary, self.run.audit)
                ),
                unreadable=self._tail.unreadable,
                cuts=self._cuts,
                problem=problem,
                problems=[*problems, *self._tail.problems, *of_roster, *of_summary, *of_audit, *of_now],
            )

    def _follow(self) -> None:
        news, changed = self._tail.look(), False
        while True:
            changed = changed or news.anew or bool(news.lines)
            if news.anew:
                self._journal, self._columns = [], Columns()
                self._cuts += 1
            for _, line in news.lines:
                self._journal.append(line)
                if is_round(line):
                    self._columns.add(line)
            if not news.more:
                break
            news = self._tail.look()
        if changed:
            self._whole = self._columns.copy()  # views are read while the next lines come

    def _config(self) -> tuple[RunConfig | None, dict[str, Scalar], str]:
        """Returns the configuration; what of it can be read; and why it cannot be used as a whole."""

        def parse() -> tuple[RunConfig | None, dict[str, Scalar], str]:
            raw: dict[str, Any] = {}
            try:
                raw = flatten(read_toml(self.run.config))
                config = self.run.read_config()
            except ConfigError as error:
                scalars = {key: value for key, value in raw.items() if isinstance(value, bool | int | float | str)}
                return None, scalars, self._problem_in(self.run.config, error)
            return config, config.flat(), ""

        try:
            found: tuple[RunConfig | None, dict[str, Scalar], str] = self._once(self.run.config, parse)
        except OSError as error:
            why = "is gone" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
            return None, {}, f"{self.run.config.name} {why}"
        return found

    def _file(self, path: Path, form: Callable[[Any], tuple[Any, list[str]]]) -> tuple[Any, list[str]]:
        """Returns what a file says, and why it is not read, or not in full; nothing where it is not there."""
        try:
            found, problems = self._once(path, lambda: _formed(path, form))
        except FileNotFoundError:
            return None, []
        except OSError as error:
            found, problems = None, [f"{error.strerror or error}"]
        return found, [f"{path.name}: {'; '.join(problems[:_MOST_NAMED])}"] if problems else []

    def _problem_in(self, path: Path, error: Exception) -> str:
        """Returns a problem in words that begin with the file's name, and name none of the host's folders."""
        words = str(error).replace(repr(str(path)), path.name).replace(f"{self.run.path}{os.sep}", "")
        return f"{words if words.startswith(path.name) else f'{path.name}: {words}'}"

    def _once(self, path: Path, parse: Callable[[], Any]) -> Any:
        """Returns what ``parse`` makes of a file, and again only when the file has changed.

        Raises:
            OSError: It is not there.
        """
        status = path.stat()
        state = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
        if path not in self._read or self._read[path][0] != state:
            self._read[path] = (state, parse())
        return self._read[path][1]


def _formed(path: Path, form: Callable[[Any], tuple[Any, list[str]]]) -> tuple[Any, list[str]]:
    try:
        return form(json_values.document(read_file(path, _LONGEST_FILE)))
    except OSError as error:
        return None, [f"{error.strerror or error}"]
    except ValueError as error:
        return None, [f"{error}"]


def _now(found: Any) -> tuple[RoundStatus | None, list[str]]:
    try:
        return RoundStatus.model_validate(found), []
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "it"
        return None, [json_values.writable(f"{where}: {error.errors()[0]['msg']}")]


def held(lock: Path) -> bool | None:
    """Returns whether a process holds a lock file, from the system's table: the lock itself is left alone.

    None where that table does not tell: another system than Linux, a folder that other hosts write to, or a container,
    which does not see the locks of others.
    """
    try:
        status = lock.stat()
        rows = [row.split() for row in _LOCKS.read_text(encoding="ascii").splitlines()]
        sees_all = os.major(status.st_dev) != 0 and os.stat(_NAMESPACE).st_ino == _FIRST_NAMESPACE
    except FileNotFoundError:
        return None if lock.exists() else False
    except (OSError, ValueError):
        return None
    names = {row[5] for row in rows if len(row) > 5 and row[1] == "FLOCK"}
    if os.major(status.st_dev):
        name = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        found = name in names
    else:  # the table may name another device
        found = any(name.endswith(f":{status.st_ino}") for name in names)
    return True if found else (False if sees_all else None)


def _sample_rounds(run: RunDirectory) -> list[int]:
    """Returns the rounds with a picture, whatever it holds."""
    names = set(_listed(run.samples))
    rounds = {int(name[6:-4]) for name in names if _SAMPLE.fullmatch(name)}
    return sorted(round for round in rounds if run.sample(round).name in names)


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None
