"""The run directory: where each file of a run is, who may write there, and what its configuration and tables say."""

import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import filelock
import platformdirs

from common.config import RunConfig, upgraded
from common.config_values import flatten
from common.errors import BusyError, CheckpointError, ConfigError
from common.files import read_file, read_toml, whole_lines
from server.records import journal, json_values, run_files

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
        self.real = self.samples / "real.txt"
        self.reconstructions = self.path / "reconstructions.png"
        self.checkpoints = self.path / "checkpoints"
        self.site_keys = self.path / "site-keys.json"
        self.moments = self.path / "moments.safetensors"
        self.privacy = self.path / "privacy.jsonl"
        self.summary = self.path / "summary.json"
        self.audit = self.path / "audit.json"
        self.report = self.path / "report.html"

    @property
    def name(self) -> str:
        """What the run is called: its folder's name, in what can be written as UTF-8."""
        return json_values.writable(self.path.name)

    def sample(self, round: int) -> Path:
        """Returns the file for the samples of a round: a picture, but for a page of text that is there."""
        picture = self.samples / f"round-{round:04d}.png"
        page = picture.with_suffix(".txt")
        return page if page.exists() else picture

    def variant(self, way: str) -> Path:
        """Returns the file for the latest samples that were made in another way (``Sampler.variants``)."""
        return self.samples / f"{way.replace(' ', '-')}.txt"

    def variants(self) -> list[Path]:
        """Returns the files of ``variant`` that are there, by name."""
        pages = self.samples.glob("*.txt")
        return sorted(path for path in pages if path != self.real and not path.stem.startswith("round-"))

    def check(self, resume: bool) -> None:
        """Checks that a run may start in the folder, or go on.

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
            if len(whole_lines(self.privacy)) > 1:  # tasks were sent, and must not be forgotten
                return True
            return self.journal.exists() and bool(journal.read(self.journal) or not journal.events(self.journal))
        except (CheckpointError, OSError):
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
        """Removes what an earlier start left, where a run begins from the beginning; releases stay on record."""
        if len(whole_lines(self.privacy)) <= 1:  # nothing
            self.privacy.unlink(missing_ok=True)
        pictures = (self.partition_picture, self.reconstructions, *self.samples.glob("round-*.png"))
        pictures += tuple(self.samples.glob("*.txt"))
        for path in (self.journal, self.now, self.moments, self.summary, self.audit, self.report, *pictures):
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
        """Returns the final scores, those of an audit among them, and what is noted with them; empty before the end.

        Raises:
            CheckpointError: A file is not whole; names it.
        """
        audit = self._read(
            self.audit, run_files.audit, f"audit the run again (fedgan audit {shlex.quote(str(self.path))})"
        )
        return run_files.with_audit(self._read(self.summary, run_files.summary), audit)

    def read_partition(self) -> dict[str, Any]:
        """Returns who holds what, and the names of the classes; empty before the clients have answered.

        Raises:
            CheckpointError: The file is not whole; names it.
        """
        return self._read(self.partition, run_files.roster)

    def _read(
        self, path: Path, form: Callable[[Any], tuple[dict[str, Any], list[str]]], again: str = ""
    ) -> dict[str, Any]:
        try:
            found, problems = form(json_values.document(read_file(path, _LONGEST_FILE)))
            problems = json_values.wrong(problems)
        except FileNotFoundError:
            return {}
        except OSError as error:
            problems = [error.strerror or str(error)]
        except ValueError as error:
            problems = [str(error)]
        if problems:
            again = again or f"resume the run (fedgan simulate --resume --out {shlex.quote(str(self.path))})"
            raise CheckpointError(f"{path} is not whole ({'; '.join(problems[:3])}): remove it, and {again}")
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
