"""Submits a run to a SuperLink and stays with it to its end, which Flower's own command does not.

``flwr run`` exits with 0 once a run is handed in, whatever becomes of it, and a run whose server dies is not taken up
again. This drives Flower's public command line: submit, follow the log, ask for the status, and submit again from the
last checkpoint.
"""

import json
import re
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.config import RunConfig
from common.errors import FederationError
from simulations.deployment.superlink import SuperLink

_LINE = re.compile(r"fedgan: (.*)")
_FOLDER = re.compile(r"run directory: (.*)")
_FAILURE = re.compile(r"failed( for good)? with exit code (\d+): (.*)")  # server/app.py
_POLL_SECONDS = 15.0  # between two looks at a run whose log goes on: each is a start of Flower's command
_SHORTEST_PAUSE = 1.0  # between two looks at one whose log has ended
_LAST_WORDS_SECONDS = 5.0  # for what a run that is over has said last
_KNOCK_SECONDS = 5.0  # between two tries to hand a run in
_WOULD_FAIL_AGAIN = "as it would fail again"
_WAS_STOPPED = "as it was stopped on purpose"
_OUT_OF_SIGHT = "as it may still go on"
_AWAY_SECONDS = 300.0  # how long a SuperLink may be away before the run is given up
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 60.0  # before a run is handed in again


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        code: 0 if it went to its last round, else the exit code that ``fedgan simulate`` would have given.
        reason: Why it did not.
        folder: Its run directory on the server's host; empty if it did not come so far.
        final: Why to submit it again would be wrong; empty if it would not be.
    """

    code: int
    reason: str = ""
    folder: str = ""
    final: str = ""


def submit(superlink: SuperLink, config: RunConfig, retries: int, say: Callable[[str], None]) -> Outcome:
    """Runs a federation on a SuperLink to its end.

    A run that fails is submitted again, from its last checkpoint, up to ``retries`` times, unless it would fail again:
    the server says so where an error lasts (``common/errors.py``), as where sites' data do not fit each other.

    Args:
        superlink: Where.
        config: The run; ``output.dir`` is a folder on the server's host, or empty for a new one.
        retries: How often to submit again.
        say: Called with a line of progress.

    Raises:
        ConfigError: The connection to the SuperLink is not set up as it should be.
        FederationError: The first submission was refused.
    """
    folder, begun = config.output.dir, False
    try:
        run_id = superlink.run(config)
    except FederationError:
        superlink.explain_absence()
        raise
    for left in range(retries, -1, -1):
        say(f"run {run_id} is submitted")
        outcome = _watch(superlink, run_id, say)
        folder, begun = outcome.folder or folder, begun or bool(outcome.folder)
        if not outcome.code or outcome.final or not left:
            break
        say(f"{outcome.reason}; submitting again, {left} {'tries' if left > 1 else 'try'} left")
        time.sleep(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (retries - left)))
        changes: dict[str, bool | str] = {"output.dir": folder}
        if begun:
            changes["output.resume"] = True
        run_id = _run_when_there(superlink, config.replaced(changes), say)
    if outcome.final and left:
        outcome.reason += f"; not submitted again, {outcome.final}"
    return Outcome(outcome.code, outcome.reason, folder)


def _watch(superlink: SuperLink, run_id: int, say: Callable[[str], None]) -> Outcome:
    """Follows one submitted run to its end."""
    found: dict[str, str] = {}
    follower = _Follower(superlink, run_id, found, say)
    away_since: float | None = None
    try:
        while True:
            time.sleep(_SHORTEST_PAUSE)
            follower.wait(_POLL_SECONDS)
            try:
                status, details = superlink.status(run_id)
            except FederationError as error:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > _AWAY_SECONDS:
                    return Outcome(1, f"{error}, for {_AWAY_SECONDS:g} s", found.get("folder", ""), _OUT_OF_SIGHT)
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
    final = _WAS_STOPPED if status == "finished:stopped" else _WOULD_FAIL_AGAIN if found.get("lasts") else ""
    return Outcome(code, f"run {run_id} failed: {reason}", found.get("folder", ""), final)


class _Follower:
    """Prints a run's own lines as they come, and notes in ``found`` what they say of folder and failure."""

    def __init__(self, superlink: SuperLink, run_id: int, found: dict[str, str], say: Callable[[str], None]) -> None:
        self._superlink, self._run_id, self._found, self._say = superlink, run_id, found, say
        self._num_lines = 0
        self._start()

    def wait(self, seconds: float) -> None:
        """Waits until Flower stops printing the log, as it does at the end of the run, and no longer than so."""
        self._reader.join(seconds)

    def keep_on(self) -> None:
        """Takes the log up again where Flower has stopped printing it."""
        if not self._reader.is_alive():
            self._close()
            self._start()

    def end(self) -> None:
        """Waits a moment for what the run said last, and stops."""
        self._reader.join(_LAST_WORDS_SECONDS)
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
                self._found["lasts"], self._found["code"], self._found["reason"] = match[1] or "", match[2], match[3]
                continue
            self._say(line[1])


def _run_when_there(superlink: SuperLink, config: RunConfig, say: Callable[[str], None]) -> int:
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
            time.sleep(_KNOCK_SECONDS)


def summary_in(folder: str) -> dict[str, Any] | None:
    """Returns the summary of a run whose directory is on this host; None if it is on another."""
    file = Path(folder) / "summary.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
