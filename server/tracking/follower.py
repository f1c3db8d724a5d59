"""Reads the journal beside a run and tells a tracker. Whatever the tracker does, the run goes on and does not wait."""

import json
import logging
import math
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from common.config import RunConfig
from common.files import write_atomically
from server import journal
from server.findings import MEANS
from server.journal import Line, RunDirectory
from server.tracking.base import Tracked, Tracker

log = logging.getLogger("fedgan.server")

TRACKERS = {
    "tensorboard": ("server.tracking.to_tensorboard", "TensorBoard"),
    "wandb": ("server.tracking.to_wandb", "WeightsAndBiases"),
    "mlflow": ("server.tracking.to_mlflow", "MLflow"),
}
"""By ``tracking``: the module and the class. A module is imported when it is used, as it needs an optional package."""

FOLDER = "tracking"
_EVERY = 1.0  # seconds between two looks at the journal
_PATIENCE = 30.0  # seconds that the end of a run waits for what was not told yet
_MOST_CLIENTS = 50  # of which each has figures of its own
_OF_A_CLIENT = (*MEANS, "drift")


@contextmanager
def following(config: RunConfig, run: RunDirectory) -> Iterator[None]:
    """Tells the tracker that ``tracking`` names of the run, while the block trains and after it; or does nothing.

    Args:
        config: The run's.
        run: Its directory, with the journal as it is when the run goes on.
    """
    if config.tracking == "none":
        yield
        return
    follower = Follower(config, run)
    follower.start()
    ended = False
    try:
        yield
        ended = True
    finally:
        follower.stop(ended)


class Follower(threading.Thread):
    """Tells a tracker of what comes into the journal; what goes wrong is one warning.

    Args:
        config: The run's.
        run: Its directory.
    """

    def __init__(self, config: RunConfig, run: RunDirectory) -> None:
        super().__init__(name="fedgan-tracking", daemon=True)  # a tracker that hangs holds no process
        self._config, self._run = config, run
        self._place = run.path / FOLDER
        self._over = threading.Event()
        self._ended = False
        self._lines = _Lines(run.journal)
        self._told = 0

    def stop(self, ended: bool) -> None:
        """Lets the tracker be told of the rest, for at most half a minute."""
        self._ended = ended
        self._over.set()
        self.join(_PATIENCE)
        if self.is_alive():
            log.warning("tracking=%r is not done after %g seconds and is left alone", self._config.tracking, _PATIENCE)

    def run(self) -> None:
        """Follows the journal until the run is over."""
        try:
            tracker = self._open()
            over = False
            while not over:
                over = self._over.wait(_EVERY)  # before the last look
                self._tell(tracker)
            scores = self._run.read_summary().get("scores", {}) if self._ended else {}
            tracker.finish(_finite(scores), self._ended)
        except Exception as error:  # whatever a tracker raises is no reason to lose a run
            reason = " ".join(f"{error}".split())[:500] or type(error).__name__
            log.warning("tracking=%r is off from here on, the run goes on: %s", self._config.tracking, reason)

    def _open(self) -> Tracker:
        name = self._config.tracking
        module, kind = TRACKERS[name]
        known = self._read_state()
        self._told = int(known.get("round", 0))
        place = self._place / name
        place.mkdir(parents=True, exist_ok=True)
        done = [line["round"] for line in journal.read(self._run.journal)]
        self._told = min(self._told, max(done, default=0))  # of a run that goes on from an earlier round
        tracked = Tracked(self._run.path.name, self._config.flat(), place, str(known.get("identity", "")), self._told)
        try:
            tracker: Tracker = getattr(import_module(module), kind)(tracked)
        except ImportError as error:
            raise RuntimeError(f"{error}; pip install 'fedgan[{name}]' where the server runs") from None
        self._write_state(tracker)
        return tracker

    def _tell(self, tracker: Tracker) -> None:
        again, lines = self._lines.read()
        rounds = [line for line in lines if "event" not in line]
        last = max((int(line["round"]) for line in rounds), default=0)
        if again and last < self._told:
            tracker.rewind(last)
            self._told = last
        news = [line for line in rounds if line["round"] > self._told]
        if news and not self._told and self._run.sample(0).exists():
            tracker.picture(0, self._run.sample(0))
        for line in news:
            round = int(line["round"])
            tracker.figures(round, figures(line))
            if self._run.sample(round).exists():
                tracker.picture(round, self._run.sample(round))
            self._told = round
        if news or again:
            self._write_state(tracker)

    def _read_state(self) -> dict[str, Any]:
        """Returns what the tracker was told by an earlier process that worked on this run."""
        path = self._place / f"{self._config.tracking}.json"
        if not self._config.output.resume or not path.exists():
            return {}
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def _write_state(self, tracker: Tracker) -> None:
        state = {"identity": tracker.identity, "round": self._told}
        write_atomically(self._place / f"{self._config.tracking}.json", json.dumps(state).encode())


def figures(line: Line) -> dict[str, float]:
    """Returns a round's figures by name: scores, means over clients, each client's own, bytes, seconds, refusals."""
    values: dict[str, Any] = {f"scores/{key}": value for key, value in line["scores"].items()}
    values |= {f"clients-mean/{key}": journal.mean_of(line, key) for key in MEANS}
    if len(line["clients"]) <= _MOST_CLIENTS:
        for client in line["clients"]:
            values |= {f"client-{client['partition']}/{key}": client[key] for key in _OF_A_CLIENT if key in client}
    values |= {f"seconds/{key}": value for key, value in line["seconds"].items()}
    values |= {f"traffic/{key}": line[key] for key in ("bytes-down", "bytes-up")}
    values |= {"progress/images-seen": line["images-seen"], "progress/refused": len(line["refused"])}
    return _finite(values)


def _finite(values: Mapping[str, Any]) -> dict[str, float]:
    numbers = {key: value for key, value in values.items() if isinstance(value, int | float)}
    return {key: float(value) for key, value in numbers.items() if math.isfinite(value)}


class _Lines:
    """The lines of a journal as they come, each once unless the file is written anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file, self._place = 0, 0

    def read(self) -> tuple[bool, list[Line]]:
        """Returns whether the file was written anew, so that all lines come again, and the whole lines that came."""
        if not self._path.exists():
            return False, []
        with self._path.open("rb") as file:
            status = os.fstat(file.fileno())
            again = bool(self._file) and (status.st_ino != self._file or status.st_size < self._place)
            self._file = status.st_ino
            self._place = 0 if again else self._place
            file.seek(self._place)
            whole, _, _ = file.read().rpartition(b"\n")
        self._place += len(whole) + 1 if whole else 0
        return again, [json.loads(text) for text in whole.splitlines() if text.strip()]
