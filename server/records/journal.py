"""The run directory and its journal: one JSON object a line, the only record that reports read."""

import functools
import json
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import filelock
import platformdirs

from common.config import RunConfig, flatten, upgraded
from common.errors import BusyError, CheckpointError, ConfigError
from common.files import open_file, read_file, read_toml, write_atomically
from server.records import run_files

Line = run_files.Line

_LONGEST_REASON = 5000
_LONGEST_FILE = 64 * 2**20  # bytes of a partition.json or summary.json
_ALWAYS = ("model", "algorithm", "partition", "data.name", "federation.num-clients", "output.resume")
"""Keys that every configuration of a run has; the last is at its end, so one that was cut short lacks it."""


class RunDirectory:
    """The files of one run, all below one absolute path."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.config = self.path / "config.toml"
        self.journal = self.path / "journal.jsonl"
        self.partition = self.path / "partition.json"
        self.now = self.path / "now.json"
        self.partition_picture = self.path / "partition.png"
        self.samples = self.path / "samples"
        self.checkpoints = self.path / "checkpoints"
        self.moments = self.path / "moments.safetensors"
        self.summary = self.path / "summary.json"
        self.report = self.path / "report.html"

    @property
    def name(self) -> str:
        """What the run is called: its folder's name, in what can be written as UTF-8."""
        return run_files.writable(self.path.name)

    def sample(self, round: int) -> Path:
        """Returns the file for the pictures of a round."""
        return self.samples / f"round-{round:04d}.png"

    def check(self, resume: bool) -> None:
        """Passes a folder in which a run may start, or go on.

        A run that died before its first round was done may be started again as well as resumed.

        Raises:
            ConfigError: There is a run and ``resume`` is false, or there is none and it is true.
        """
        if not resume and self.config.exists() and self._holds_rounds():
            raise ConfigError(f"output.dir={str(self.path)!r} holds a run already: resume it, or name another folder")
        if resume and not self.config.exists():
            raise ConfigError(f"output.dir={str(self.path)!r} holds no run to go on with (it has no config.toml)")

    def _holds_rounds(self) -> bool:
        if any(self.checkpoints.glob("round-*")):
            return True
        try:
            return self.journal.exists() and bool(read(self.journal) or not events(self.journal))
        except CheckpointError:
            return True

    def create(self) -> None:
        """Makes the folders.

        Raises:
            ConfigError: The folder cannot be made or written.
        """
        try:
            for folder in (self.samples, self.checkpoints):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"output.dir={str(self.path)!r} cannot be written: {error.strerror}") from None
        if not os.access(self.path, os.W_OK):
            raise ConfigError(f"output.dir={str(self.path)!r} cannot be written")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes out of the folder while the block runs; the lock dies with the process.

        Raises:
            BusyError: Another process is at work in it.
        """
        lock = filelock.FileLock(self.path / ".lock", timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise BusyError(f"another process is at work in output.dir={str(self.path)!r}") from None
        try:
            yield
        finally:
            lock.release()

    def clear(self) -> None:
        """Removes what an earlier start left, where a run begins from the beginning."""
        pictures = (self.partition_picture, *self.samples.glob("round-*.png"))
        for path in (self.journal, self.now, self.moments, self.summary, self.report, *pictures):
            path.unlink(missing_ok=True)

    def read_config(self) -> RunConfig:
        """Returns the configuration of the run.

        Raises:
            ConfigError: The file is not there or not whole; names it.
        """
        flat = upgraded(flatten(read_toml(self.config)))
        if missing := [key for key in _ALWAYS if key not in flat]:
            raise ConfigError(
                f"{self.config} is not whole, as it has no {', '.join(missing)}: write it again as the run was started "
                "(fedgan simulate ... --dry-run prints a configuration)"
            )
        return RunConfig.from_flat(flat)

    def read_summary(self) -> dict[str, Any]:
        """Returns the final scores and what is told with them; empty before the run has ended.

        Raises:
            CheckpointError: The file is not whole; names it.
        """
        return self._read(self.summary, run_files.summary)

    def read_partition(self) -> dict[str, Any]:
        """Returns who holds what, and the names of the classes; empty before the clients have answered.

        Raises:
            CheckpointError: The file is not whole; names it.
        """
        return self._read(self.partition, run_files.roster)

    def _read(self, path: Path, form: Callable[[Any], tuple[dict[str, Any], list[str]]]) -> dict[str, Any]:
        try:
            found, problems = form(run_files.document(read_file(path, _LONGEST_FILE)))
            problems = run_files.wrong(problems)
        except FileNotFoundError:
            return {}
        except OSError as error:
            problems = [error.strerror or str(error)]
        except ValueError as error:
            problems = [str(error)]
        if problems:
            raise CheckpointError(
                f"{path} is not whole ({'; '.join(problems[:3])}): remove it, and resume the run, which writes it "
                f"again (fedgan simulate --resume --out {shlex.quote(str(self.path))})"
            )
        return found

    @classmethod
    def existing(cls, path: Path) -> "RunDirectory":
        """Returns the run directory at ``path``.

        Raises:
            ConfigError: There is no run.
        """
        run = cls(path)
        if not run.config.is_file():
            held = sorted(path.glob("*/config.toml"), key=lambda file: file.stat().st_mtime, reverse=True)
            named = f"; it holds runs: name one, as {shlex.quote(str(held[0].parent))}" if held else ""
            raise ConfigError(f"{str(path)!r} is not a run directory: it has no config.toml{named}")
        return run


def resolve(name: str, base: Path | None = None) -> RunDirectory:
    """Returns the run directory for ``output.dir``.

    Args:
        name: The configured folder; empty for a new one named after date and time.
        base: What a relative folder is relative to. None: the user's data folder, as a ServerApp's working directory
            is that of whoever started its SuperLink.
    """
    base = base or platformdirs.user_data_path("fedgan")
    if name:
        return RunDirectory(base / Path(name).expanduser())
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    for suffix in ("", *(f"-{n}" for n in range(2, 1000))):
        run = RunDirectory(base / "runs" / (stamp + suffix))
        if not run.path.exists():
            return run
    raise ConfigError(f"{base / 'runs'} is full: name a folder with output.dir")


class Scores:
    """What a running run asks its own journal, over and over: the scores of its rounds, read once and then kept.

    A journal of a thousand clients grows by a quarter of a megabyte a round, which takes milliseconds to read again.

    Args:
        path: The journal; while this object lives nobody else cuts it or writes rounds to it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @functools.cached_property
    def lines(self) -> list[Line]:
        """``round`` and ``scores`` of each round, in order."""
        return [_scores_of(line) for line in read(self._path)]

    def append(self, line: Mapping[str, Any]) -> None:
        """Writes a round to the journal, see the function ``append``."""
        lines = self.lines
        append(self._path, line)
        lines.append(_scores_of(line))

    def cut(self, last_round: int) -> None:
        """Drops rounds from the journal, see the function ``cut``."""
        cut(self._path, last_round)
        self.__dict__.pop("lines", None)


def _scores_of(line: Mapping[str, Any]) -> Line:
    return {"round": line["round"], "scores": line["scores"]}


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Writes one line to the journal and makes it last."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def note(path: Path, event: str, round: int, reason: str, refused: Sequence[Mapping[str, Any]] = ()) -> None:
    """Appends something that happened beside the rounds; see ``docs/reliability.md``.

    Args:
        path: The journal.
        event: What happened.
        round: After which round, or in which.
        reason: In words; cut where it is very long.
        refused: ``partition`` and ``reason`` of the clients that were left out then.
    """
    line = {"event": event, "round": round, "reason": reason[:_LONGEST_REASON]}
    append(path, line | ({"refused": list(refused)} if refused else {}))


def read(path: Path) -> list[Line]:
    """Returns the rounds of a journal, in order. A torn last line, of a run that is writing or died, is left out.

    Raises:
        CheckpointError: A line before the last cannot be read.
    """
    return [line for line in _all(path) if "event" not in line]


def events(path: Path) -> list[Line]:
    """Returns what happened beside the rounds: ``event``, ``round``, ``reason``; see ``docs/reliability.md``.

    Raises:
        CheckpointError: A line before the last cannot be read.
    """
    return [line for line in _all(path) if "event" in line]


def _all(path: Path) -> list[Line]:
    try:
        with open_file(path) as file:
            content = file.read()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    found: list[Line] = []
    rows = content.splitlines()
    for number, row in enumerate(rows, start=1):
        try:
            line, problems = run_files.journal_line(row)
            problems = run_files.wrong(problems)
        except ValueError as error:
            if number == len(rows) and not content.endswith(b"\n") and (found or row.startswith(b"{")):
                break  # torn
            problems = [str(error)]
        if problems:
            raise CheckpointError(
                f"{path}, line {number}, is not a line of a journal: {'; '.join(problems[:3])}. Take that line out, or "
                "put the file back as it was"
            )
        found.append(line)
    return found


def describe(line: Line, num_rounds: int) -> str:
    """Returns one line of text for a line of the journal."""
    parts = [f"round {line['round']}/{num_rounds}"]
    for key, name in (("discriminator-loss", "D"), ("generator-loss", "G")):
        if (value := mean_of(line, key)) is not None:
            parts.append(f"{name} loss {value:.3f}")
    parts.append(f"{sum(line['seconds'].values()):.2f} s")
    scores = line["scores"]
    parts += [f"{key} {value:.3g}" for key, value in scores.items() if isinstance(value, float) and key[:6] != "worst-"]
    parts += [
        f"worst {what} {scores[f'worst-{what}']} ({scores[f'worst-{what}-fid']:.3g})"
        for what in ("client", "class")
        if f"worst-{what}" in scores
    ]
    if told := line.get("scored-with"):
        parts.append(f"({scored_with(told)})")
    if "federated-clients" in scores:
        parts.append(f"federated over {len(scores['federated-clients'])} of {len(scores['client-fid'])} clients")
    if line["refused"]:
        parts.append(f"{len(line['refused'])} left out")
    return "  ".join(parts)


def scored_with(told: Mapping[str, Any] | None) -> str:
    """Returns what scores were made with, as short as it stands beside them: ``mnist-cnn, 2,000 images``.

    Args:
        told: What a round, or a summary, has under ``scored-with``; nothing of a run of before it was written.
    """
    if not told:
        return "extractor and number of images unknown"
    return f"{told.get('extractor') or 'no extractor'}, {told.get('num-images', 0):,} images"


def mean_of(line: Line, key: str) -> float | None:
    """Returns the mean over the round's clients of one of their figures, weighted by images; None if none has it."""
    rows = [(c["num-examples"], c[key]) for c in line["clients"] if key in c]
    return sum(n * value for n, value in rows) / sum(n for n, _ in rows) if rows else None


def cut(path: Path, last_round: int) -> None:
    """Drops the rounds after ``last_round``, which are done again; what happened beside the rounds stays."""
    kept = [line for line in _all(path) if "event" in line or line["round"] <= last_round]
    write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
