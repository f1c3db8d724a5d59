"""Submits a run to a SuperLink and stays with it to its end, which Flower's own command does not.

``flwr run`` exits with 0 once a run is handed in, whatever becomes of it, and a run whose server dies is not taken up
again. This drives Flower's public command line: submit, follow the log, ask for the status, and submit again from the
last checkpoint.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.config import RunConfig
from common.errors import ConfigError, FederationError

PROJECT = Path(__file__).resolve().parent.parent

_LINE = re.compile(r"fedgan: (.*)")
_FOLDER = re.compile(r"run directory: (.*)")
_FAILURE = re.compile(r"failed with exit code (\d+): (.*)")
_POLL_SECONDS = 2.0
_AWAY_SECONDS = 300.0  # how long a SuperLink may be away before the run is given up
_COMMAND_SECONDS = 120.0


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        code: 0 if it went to its last round, else the exit code that ``fedgan simulate`` would have given.
        reason: Why it did not.
        folder: Its run directory on the server's host; empty if it did not come so far.
        final: Whether to submit it again would be wrong: it would fail again, was stopped by a person, or may still go
            on out of sight.
    """

    code: int
    reason: str = ""
    folder: str = ""
    final: bool = False


class SuperLink:
    """Flower's command line, for one connection of its configuration file.

    Args:
        name: The connection's name there.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        beside = Path(sys.executable).parent / "flwr"
        self._flwr = str(beside) if beside.exists() else shutil.which("flwr") or "flwr"

    def run(self, config: RunConfig) -> int:
        """Hands a run in and returns its id.

        Raises:
            FederationError: The SuperLink cannot be reached or refuses it; says what Flower says.
        """
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "config.toml"
            file.write_text(config.toml(), encoding="utf-8")
            answer = self._ask("run", str(PROJECT), self._name, "-c", str(file))
        return int(answer["run-id"])

    def status(self, run_id: int) -> tuple[str, str]:
        """Returns a run's status, e.g. ``finished:failed``, and Flower's words on it.

        Raises:
            FederationError: The SuperLink cannot be reached, or does not know the run.
        """
        runs = self._ask("list", self._name, "--run-id", str(run_id)).get("runs", [])
        if not runs:
            raise FederationError(f"the SuperLink does not know run {run_id}")
        return str(runs[0]["status"]), str(runs[0].get("status-details", ""))

    def follow(self, run_id: int) -> subprocess.Popen[str]:
        """Returns a process that prints the run's log as it comes."""
        return subprocess.Popen(
            [self._flwr, "log", str(run_id), self._name, "--stream"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
        )

    def _ask(self, *arguments: str) -> dict[str, Any]:
        try:
            done = subprocess.run(
                [self._flwr, *arguments, "--format", "json"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise FederationError(f"no answer to 'flwr {arguments[0]}' within {_COMMAND_SECONDS:g} s") from None
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            answer = {}
        if done.returncode or not isinstance(answer, dict) or not answer.get("success"):
            said = str(answer.get("error-message", "")) if isinstance(answer, dict) else ""
            words = " ".join((said or done.stderr or done.stdout).split())
            raise FederationError(f"'flwr {arguments[0]}' failed: {words[-500:] or f'exit code {done.returncode}'}")
        return answer


def submit(
    superlink: SuperLink, config: RunConfig, retries: int, say: Callable[[str], None], poll: float = _POLL_SECONDS
) -> Outcome:
    """Runs a federation on a SuperLink to its end.

    A run that fails is submitted again, from its last checkpoint, up to ``retries`` times, unless it failed for what
    would fail again: its configuration (exit code 2).

    Args:
        superlink: Where.
        config: The run; ``output.dir`` is a folder on the server's host, or empty for a new one.
        retries: How often to submit again.
        say: Called with a line of progress.
        poll: Seconds between two looks at the run's status.

    Raises:
        FederationError: The first submission was refused.
    """
    folder, begun = config.output.dir, False
    run_id = superlink.run(config)
    for left in range(retries, -1, -1):
        say(f"run {run_id} is submitted")
        outcome = _watch(superlink, run_id, say, poll)
        folder, begun = outcome.folder or folder, begun or bool(outcome.folder)
        if not outcome.code or outcome.final or not left:
            break
        say(f"{outcome.reason}; submitting again, {left} {'tries' if left > 1 else 'try'} left")
        changes: dict[str, bool | str] = {"output.dir": folder}
        if begun:
            changes["output.resume"] = True
        run_id = _run_when_there(superlink, config.replaced(changes), say, poll)
    return Outcome(outcome.code, outcome.reason, folder)


def _watch(superlink: SuperLink, run_id: int, say: Callable[[str], None], poll: float) -> Outcome:
    """Follows one submitted run to its end."""
    found: dict[str, str] = {}
    follower = _Follower(superlink, run_id, found, say)
    away_since: float | None = None
    try:
        while True:
            time.sleep(poll)
            try:
                status, details = superlink.status(run_id)
            except FederationError as error:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > _AWAY_SECONDS:
                    return Outcome(1, f"{error}, for {_AWAY_SECONDS:g} s", found.get("folder", ""), final=True)
                continue
            away_since = None
            follower.keep_on()
            if status.startswith("finished"):
                break
    finally:
        follower.end()
    if status == "finished:completed":
        return Outcome(0, folder=found.get("folder", ""))
    reason = found.get("reason") or details or status
    code = max(1, int(found.get("code", "1")))
    final = code == ConfigError.exit_code or status == "finished:stopped"
    return Outcome(code, f"run {run_id} failed: {reason}", found.get("folder", ""), final)


class _Follower:
    """Passes a run's own lines on as they come, and notes in ``found`` what they say of folder and failure."""

    def __init__(self, superlink: SuperLink, run_id: int, found: dict[str, str], say: Callable[[str], None]) -> None:
        self._superlink, self._run_id, self._found, self._say = superlink, run_id, found, say
        self._num_lines = 0
        self._start()

    def keep_on(self) -> None:
        """Takes the log up again where Flower has stopped printing it."""
        if not self._reader.is_alive():
            self._close()
            self._start()

    def end(self) -> None:
        """Waits a moment for what the run said last, and stops."""
        self._reader.join(5.0)
        self._close()

    def _start(self) -> None:
        self._log = self._superlink.follow(self._run_id)
        self._reader = threading.Thread(target=self._read, args=(self._log,), daemon=True)
        self._reader.start()

    def _close(self) -> None:
        self._log.kill()
        self._reader.join()
        with self._log:  # closes the pipe
            self._log.wait()

    def _read(self, log: "subprocess.Popen[str]") -> None:
        assert log.stdout is not None
        number = 0
        for text in log.stdout:
            if not (line := _LINE.match(text)):
                continue
            number += 1
            if number <= self._num_lines:
                continue  # a log that is taken up again begins at the beginning
            self._num_lines = number
            if match := _FOLDER.match(line[1]):
                self._found.setdefault("folder", match[1])
            elif match := _FAILURE.match(line[1]):
                self._found["code"], self._found["reason"] = match[1], match[2]
                continue
            self._say(line[1])


def _run_when_there(superlink: SuperLink, config: RunConfig, say: Callable[[str], None], poll: float) -> int:
    """Hands a run in as soon as the SuperLink takes it.

    Raises:
        FederationError: It has not for a long time.
    """
    deadline = time.monotonic() + _AWAY_SECONDS
    while True:
        try:
            return superlink.run(config)
        except FederationError as error:
            if time.monotonic() > deadline:
                raise
            say(f"{error}; trying again")
            time.sleep(max(poll, 5.0))


def check(name: str) -> None:
    """Passes if a run can be submitted from here to the connection of this name.

    Raises:
        ConfigError: fedgan was installed without its checkout, or Flower's configuration file has no such connection.
    """
    if not (PROJECT / "pyproject.toml").is_file():
        raise ConfigError(f"{PROJECT} has no pyproject.toml: Flower bundles a checkout; install fedgan with pip -e")
    file = Path(os.environ.get("FLWR_HOME") or Path.home() / ".flwr") / "config.toml"
    try:
        known = tomllib.loads(file.read_text(encoding="utf-8")).get("superlink", {})
    except FileNotFoundError:
        known = {}
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None
    if name not in [key for key, value in known.items() if isinstance(value, dict)]:
        raise ConfigError(
            f"{file} has no SuperLink {name!r}: add [superlink.{name}] with its address and root-certificates "
            "(docs/deployment.md)"
        )


def summary_in(folder: str) -> dict[str, Any] | None:
    """Returns the summary of a run whose directory is on this host; None if it is on another."""
    file = Path(folder) / "summary.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
