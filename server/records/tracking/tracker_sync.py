"""Sends one tracker what a run's journal says: each round once, by however many processes and in however many goes."""

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import filelock

from common import metrics
from common.config import RunConfig, Scalar
from common.errors import ConfigError
from common.journal_lines import JournalLine, RoundLine, figure_of, is_round
from server.records import journal, privacy_words, run_files
from server.records.curves import averaged
from server.records.run_directory import RunDirectory
from server.records.tracking.base import Tracked, Tracker
from server.records.tracking.sync_state import SyncState, digest

TRACKERS = {
    "tensorboard": ("server.records.tracking.to_tensorboard", "TensorBoard"),
    "wandb": ("server.records.tracking.to_wandb", "WeightsAndBiases"),
    "mlflow": ("server.records.tracking.to_mlflow", "MLflow"),
}
"""By ``tracking``: the module and the class. A module is imported when it is used, as it needs an optional package."""

FOLDER = "tracking"
_OF_THE_MODEL = "scores/"  # all else tells who took part, or for how long
_MOST_CLIENTS = 50  # of which each has figures of its own


class TrackerSync:
    """What one tracker gets of one run. Whatever the tracker raises is raised.

    Args:
        name: One of ``TRACKERS``.
        config: The run's.
        run: Its directory.
        anew: Whether the run begins, so that whatever was sent before was of another one.
    """

    def __init__(self, name: str, config: RunConfig, run: RunDirectory, *, anew: bool = False) -> None:
        self._name, self._config, self._run = name, config, run
        self._path = run.path / FOLDER / f"{name}.json"
        self._sent = SyncState() if anew else SyncState.read(self._path)
        self._lines = _Lines(run.journal)
        self._tracker: Tracker | None = None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other processes from sending the run to the same tracker while the block does.

        Raises:
            ConfigError: Another process is sending the run.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self._path.with_suffix(".lock"), timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise ConfigError(f"another process is sending {str(self._run.path)!r} to {self._name}") from None
        try:
            yield
        finally:
            lock.release()

    def open(self) -> Tracker:
        """Opens the tracker where it was left, or for a run that it does not know.

        Raises:
            ConfigError: Its package is not installed; says how to get it.
        """
        kept = self._sent.agreed(_by_round(journal.read(self._run.journal)))
        if self._sent.rounds and not kept:
            self._sent = SyncState()  # of another run in this folder, or one that begins again
        self._sent.keep(kept)
        place = self._path.parent / self._name
        place.mkdir(parents=True, exist_ok=True)
        tracked = Tracked(self._run.path.name, self._config_to_send(), place, self._sent.identity, kept)
        module, kind = TRACKERS[self._name]
        try:
            tracker: Tracker = getattr(import_module(module), kind)(tracked)
        except ImportError as error:
            raise ConfigError(f"{error}; pip install 'fedgan[{self._name}]' where the server runs") from None
        self._tracker, self._sent.identity = tracker, tracker.identity
        self._sent.write(self._path)
        return tracker

    def _config_to_send(self) -> dict[str, Scalar]:
        """Returns the configuration, with the extractor that the run's images have, as scores say nothing without."""
        config, evaluation = self._config.flat(), self._config.evaluation
        try:
            shape = json.loads(self._run.partition.read_text(encoding="utf-8"))["shape"]
            sizes, stacks = (int(shape["channels"]), int(shape["size"])), self._config.source.stacks_digits
            name = metrics.extractor_name(evaluation.extractor, *sizes, stacks_digits=stacks)
        except (OSError, ValueError, KeyError, TypeError, ConfigError):
            return config  # not known, or not yet
        return config | {"evaluation.extractor": name or "none"}

    def send(self) -> int:
        """Sends the rounds that are new since the last look; returns how many.

        Rounds that have become others since they were sent are taken back, as far as the tracker can.
        """
        tracker, whole, lines = self._open, *self._lines.read()
        rounds, sent = _by_round(lines), self._sent
        if whole and (kept := sent.agreed(rounds)) < sent.last:
            tracker.rewind(kept)
            sent.keep(kept)
        news = [line for round, line in rounds.items() if round > sent.last]
        try:
            if news and not sent.last:
                self._send_samples(tracker, 0)
            for line in news:
                round = line["round"]
                tracker.figures(round, self._figures(line))
                sent.rounds[round] = digest(line)
                self._send_samples(tracker, round)
        finally:
            if news or whole:
                sent.write(self._path)
        return len(news)

    def _send_samples(self, tracker: Tracker, round: int) -> None:
        """Sends the samples of a round, if there are any: a picture, or a page of text."""
        path = self._run.sample(round)
        if path.exists():
            (tracker.page if path.suffix == ".txt" else tracker.picture)(round, path)

    def end(self, *, ended: bool) -> None:
        """Sends the final scores, if the run came to its end, and closes the tracker."""
        self._open.finish(self._scores(ended), ended)
        self._sent.end = self._digest(ended)
        self._sent.write(self._path)

    def is_complete(self, *, ended: bool) -> bool:
        """Returns whether the tracker knows all that there is to send, the end included."""
        rounds, sent = _by_round(journal.read(self._run.journal)), self._sent
        return (
            sent.end == self._digest(ended) and list(rounds) == list(sent.rounds) and sent.agreed(rounds) == sent.last
        )

    @property
    def _open(self) -> Tracker:
        assert self._tracker is not None, "open it first"
        return self._tracker

    def _scores(self, ended: bool) -> dict[str, float]:
        summary = self._run.read_summary() if ended else {}
        scores = privacy_words.publishable(self._config, summary.get("scores", {}))
        return _finite(scores | summary.get("scored-with", {}))

    def _figures(self, line: RoundLine) -> dict[str, float]:
        """Returns a round's figures, as far as they may leave the server: a tracker may be a service of others."""
        config = self._config
        line = {**line, "scores": privacy_words.publishable(config, line["scores"])}
        found = figures(line)
        if config.privacy_component.unit != "client":
            return found
        return {name: value for name, value in found.items() if name.startswith(_OF_THE_MODEL)}

    def _digest(self, ended: bool) -> str:
        return digest([ended, self._scores(ended)])


def figures(line: RoundLine) -> dict[str, float]:
    """Returns a round's figures by name: scores, means over clients, each client's own, bytes, seconds, refusals."""
    values: dict[str, object] = {f"scores/{key}": value for key, value in line["scores"].items()}
    if "scored-with" in line:
        values["scores/num-samples"] = line["scored-with"].get("num-samples")
    values |= {f"clients-mean/{key}": journal.mean_of(line, key) for key in averaged(line)}
    own = (*averaged(line), "drift")
    if len(line["clients"]) <= _MOST_CLIENTS:
        for client in line["clients"]:
            values |= {f"client-{client['partition']}/{key}": figure_of(client, key) for key in own}
    values |= {f"seconds/{key}": value for key, value in line["seconds"].items()}
    values |= {"traffic/bytes-down": line["bytes-down"], "traffic/bytes-up": line["bytes-up"]}
    values |= {"progress/examples-seen": line["examples-seen"], "progress/refused": len(line["refused"])}
    return _finite(values)


def _finite(values: Mapping[str, object]) -> dict[str, float]:
    numbers = {key: value for key, value in values.items() if isinstance(value, int | float)}
    return {key: float(value) for key, value in numbers.items() if math.isfinite(value)}


def _by_round(lines: Iterable[JournalLine]) -> dict[int, RoundLine]:
    return {line["round"]: line for line in lines if is_round(line)}


class _Lines:
    """The lines of a journal as they come, each once unless the file is written anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file, self._place = 0, 0

    def read(self) -> tuple[bool, list[JournalLine]]:
        """Returns whether these are all lines, as at the first look or in a new file, and the whole ones that came."""
        if not self._path.exists():
            return False, []
        with self._path.open("rb") as file:
            status = os.fstat(file.fileno())
            anew = status.st_ino != self._file or status.st_size < self._place
            self._file = status.st_ino
            self._place = 0 if anew else self._place
            file.seek(self._place)
            whole, _, _ = file.read().rpartition(b"\n")
        self._place += len(whole) + 1 if whole else 0
        return anew, [run_files.journal_line(text)[0] for text in whole.splitlines() if text.strip()]
