"""The course of a search: trials until there are enough or time is up, then finalists, then the best settings."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TextIO

import filelock

from common.config import Scalar
from common.errors import BusyError, ConfigError, FedGANError, OutputError
from server.records import journal
from server.records.ending import heeding_signals
from server.records.time_left import roughly
from simulations.runs.search_record import FinalistRow, SearchFolder, SearchRecord, TrialRow, read_record
from simulations.search import finalists
from simulations.search import study as memory
from simulations.search.account import Rows, write_best
from simulations.search.finalists import Repetition
from simulations.search.plan import Plan
from simulations.search.results import spoken
from simulations.search.slots import DiedError, Slots
from simulations.search.trials import Means, run_trial

log = logging.getLogger("fedgan.simulations")

_MOST_LEFT_OUT = 50  # draws in sequence that are no trials
_MOST_TRIES = 3  # of a trial whose process dies
_HOPELESS = 3  # first trials that fail, of which none succeeds
_PATIENCE = 30.0  # seconds for a run of a session that was killed to end
_SECONDS = "seconds-of-session-"


@dataclass(frozen=True)
class Limits:
    """How much a search may do.

    Attributes:
        trials: So many.
        budget: Seconds, over all sessions; None: any number.
        finalists: Best trials to repeat; 0: none.
        seeds: With so many seeds each.
        side_by_side: Runs at a time.
    """

    trials: int = 30
    budget: float | None = None
    finalists: int = 3
    seeds: int = 3
    side_by_side: int = 1


def conduct(
    folder: SearchFolder,
    plan: Plan,
    limits: Limits,
    means: Means,
    stream: TextIO | None,
    say: Callable[[str], None],
) -> SearchRecord:
    """Begins a search, or goes on with it, to its end; returns what came of it.

    Args:
        folder: Where it is.
        plan: What is searched.
        limits: How much it may do.
        means: How runs are made.
        stream: Where to show how a run goes, where there is one at a time.
        say: Told, in a line, of what begins and ends.

    Raises:
        BusyError: Another process is at work on it.
        OtherRunError: The folder holds another search.
        ConfigError: There is something else in the folder, or nothing that is drawn is a configuration.
        FedGANError: No trial succeeds.
    """
    memory.require_optuna()
    with _locked(folder), heeding_signals():
        course = _Course(folder, plan, limits, means, stream, say)
        try:
            course.make_trials()
            course.make_finalists()
        finally:
            course.slots.end()
            course.account()
        course.write()
        return course.record


@contextmanager
def _locked(folder: SearchFolder) -> Iterator[None]:
    place = str(folder.path)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        if not folder.record.exists() and (
            others := {path.name for path in folder.path.iterdir()} - {folder.lock.name}
        ):
            raise ConfigError(
                f"--out {place!r} holds other things ({', '.join(sorted(others)[:3])}): name a new folder"
            )
        lock = filelock.FileLock(folder.lock, timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise BusyError(f"another process is at work on the search in {place!r}") from None
    except OSError as error:
        raise OutputError(f"--out {place!r} cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()


class _Course:
    """A search under way; its folder is locked."""

    def __init__(
        self,
        folder: SearchFolder,
        plan: Plan,
        limits: Limits,
        means: Means,
        stream: TextIO | None,
        say: Callable[[str], None],
    ) -> None:
        self._folder, self._plan, self._limits, self._means, self._say = folder, plan, limits, means, say
        self._begun = time.monotonic()
        self._writing = threading.Lock()
        self.slots = Slots(limits.side_by_side)
        self._stream = stream if self.slots.is_here else None
        known = read_record(folder)
        if known is not None:
            plan.require_same(known, str(folder.path))
        self.record = plan.record(limits.trials, limits.budget)
        self.record.write(folder)  # from here on the folder is this search's
        memory.mend(folder.study)
        self._study = memory.open_study(folder.study, plan)
        before = [float(value) for name, value in self._study.user_attrs.items() if name.startswith(_SECONDS)]
        self._session, self._earlier = f"{_SECONDS}{len(before)}", sum(before)
        self._rows = Rows(folder, self._study)
        self._finalists: list[FinalistRow] = []
        self._ended = ""
        self._unfinished = self._left_by_others()
        self._tried = {
            _key(trial.user_attrs[memory.SETTINGS]): trial.number
            for trial in reversed(self._study.get_trials(deepcopy=False))
            if memory.SETTINGS in trial.user_attrs
        }
        self.write()

    @property
    def _elapsed(self) -> float:
        return self._earlier + time.monotonic() - self._begun

    def write(self) -> None:
        """Writes what the search has come to, and its best settings so far."""
        with self._writing:
            self.account()
            self._write()

    def account(self) -> None:
        """Notes how long the search was at work."""
        self._study.set_user_attr(self._session, time.monotonic() - self._begun)

    def _write(self) -> None:
        rows, left_out = self._rows.all()
        shares = memory.importances(self._study)
        parameters = [row.model_copy(update={"importance": shares.get(row.name)}) for row in self.record.parameters]
        best, words = self._best_of(rows)
        self.record = self.record.model_copy(
            update={
                "seconds": self._elapsed,
                "parameters": parameters,
                "rows": rows,
                "left_out": left_out,
                "finalists": self._finalists,
                "best": best.number if best else None,
                "ended": self._ended,
            }
        )
        self.record.write(self._folder)
        if best is not None:
            write_best(self._folder, self._plan, best, words)

    def _best_of(self, rows: list[TrialRow]) -> tuple[TrialRow | None, str]:
        """Returns the trial with the best settings so far, and what it scored in words."""
        metric = self._plan.metric
        if self._finalists and (first := self._finalists[0]).mean is not None:
            spread = f", standard deviation {first.deviation:.3g}" if first.deviation is not None else ""
            seeds = f"on average over {len(first.values)} other seeds{spread}"
            words = f"trial {first.trial}, {metric} {first.mean:.4g} {seeds}"
            return next(row for row in rows if row.number == first.trial), words
        picked = finalists.pick(rows, self._plan, 1)
        return (
            (picked[0], f"trial {picked[0].number}, {metric} {picked[0].value:.4g} with one seed")
            if picked
            else (None, "")
        )

    def _left_by_others(self) -> list[int]:
        """Returns the trials that an earlier session has left, to go on with; those that cannot have failed."""
        left = []
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state.is_finished():
                continue
            directory = self._folder.trial(trial.number)
            if memory.SETTINGS not in trial.user_attrs:
                memory.reopened(self._study, trial.number).set_user_attr(memory.LEFT_OUT, "unsettled")
                memory.fail(self._study, trial.number, "the search was ended before its settings were drawn")
            elif trial.user_attrs.get(memory.TRIES, 0) >= _MOST_TRIES:
                why = f"its process died each of the {_MOST_TRIES} times that it was begun"
                memory.fail(self._study, trial.number, why)
                self._say(f"trial {trial.number} was left unfinished, and has failed: {why}")
            else:
                _await(directory.path)
                done = journal.read(directory.journal) if directory.config.exists() else []
                where = f"after round {done[-1]['round']}" if done else "from its beginning"
                self._say(f"trial {trial.number} was left unfinished, and goes on {where}")
                left.append(trial.number)
        return left

    def make_trials(self) -> None:
        """Makes trials until there are enough, time is up, or nothing is left to try."""
        self.slots.work_off(self._next_trial)

    def _next_trial(self) -> Callable[[], None] | None:
        number = self._unfinished.pop(0) if self._unfinished else self._ask()
        if number is None:
            return None
        trial = memory.reopened(self._study, number)
        trial.set_user_attr(memory.TRIES, trial.user_attrs.get(memory.TRIES, 0) + 1)
        self.write()
        which = f"trial {number}, {len(self.record.rows)} of {self._limits.trials}"
        self._say(f"{which}: {spoken(trial.user_attrs[memory.SETTINGS])}")
        return partial(self._make_trial, number)

    def _ask(self) -> int | None:
        """Returns the number of a new trial, whose settings are drawn; None if there is to be none."""
        why = ""
        for _ in range(_MOST_LEFT_OUT):
            if over := self._why_over():
                self._ended = over
                return None
            number = len(self._study.get_trials(deepcopy=False))
            plan = self._plan
            self._study.sampler = memory.sampler_of(plan.sampler, plan.base.seed, number, self._limits.side_by_side)
            with memory.quietly():
                trial = self._study.ask()
                settings = plan.space.draw(trial, plan.base)
            try:
                plan.base.replaced(settings)
            except ConfigError as error:
                why = f"{spoken(settings)}: {error}"
                trial.set_user_attr(memory.LEFT_OUT, "refused")
                memory.prune(self._study, trial.number, why)
                continue
            if (twin := self._tried.setdefault(_key(settings), trial.number)) != trial.number:
                why = f"{spoken(settings)} are those of trial {twin}"
                self._leave_out(trial.number, twin)
                continue
            trial.set_user_attr(memory.SETTINGS, settings)
            return trial.number
        if not self._rows.all()[0]:
            raise ConfigError(f"nothing that was drawn {_MOST_LEFT_OUT} times is a configuration; the last: {why}")
        self._ended = f"{_MOST_LEFT_OUT} draws in sequence were nothing new"
        return None

    def _leave_out(self, number: int, twin: int) -> None:
        """Tells the study of settings that were tried what it knows of them, and makes no run."""
        memory.reopened(self._study, number).set_user_attr(memory.LEFT_OUT, "repeats")
        known = memory.frozen(self._study, twin)
        if known.value is not None and known.state.name == "COMPLETE":
            self._study.tell(number, known.value)
        else:
            memory.prune(self._study, number, f"it repeats trial {twin}")

    def _why_over(self) -> str:
        """Returns why no further trial is to be begun; empty if one is.

        Raises:
            FedGANError: The first ones have all failed.
        """
        rows, _ = self._rows.all()
        failed = [row for row in rows if row.state == "failed"]
        if len(failed) >= _HOPELESS and len(failed) == len([row for row in rows if row.state != "running"]):
            raise FedGANError(f"the first {len(failed)} trials have all failed; the last: {failed[-1].reason}")
        if len(rows) >= self._limits.trials:
            return f"{len(rows)} trials are made"
        if (budget := self._limits.budget) is not None:
            usual = self._usual_seconds(rows)
            reserved = self._limits.finalists * self._limits.seeds * usual / self._limits.side_by_side
            if self._elapsed + usual + reserved >= budget:
                return f"another trial would not end within the budget of {roughly(budget)}"
        return ""

    def _usual_seconds(self, rows: list[TrialRow]) -> float:
        return fmean([row.seconds or 0.0 for row in rows if row.state == "complete"] or [0.0])

    def _make_trial(self, number: int) -> None:
        try:
            self.slots.call(run_trial, self._folder, self._plan, number, self._means, self._stream)
        except DiedError as error:
            if self.slots.is_ending:
                return
            memory.fail(self._study, number, str(error))
        self.write()
        row = next(row for row in self.record.rows if row.number == number)
        if row.state == "complete":
            best = next(it for it in self.record.rows if it.number == self.record.best)
            also = "the best so far" if best.number == number else f"the best is trial {best.number}, {best.value:.4g}"
            self._say(f"trial {number}: {self._plan.metric} {row.value:.4g} ({also})")
        else:
            self._say(f"trial {number} {'has failed: ' if row.state == 'failed' else ''}{row.reason}")

    def make_finalists(self) -> None:
        """Repeats the best trials with other seeds, and ranks them by the means."""
        picked = finalists.pick(self.record.rows, self._plan, self._limits.finalists)
        if not picked or not self._limits.seeds:
            return
        usual, results = self._usual_seconds(self.record.rows), dict[tuple[int, int], tuple[float | None, str]]()
        waiting = finalists.repetitions(picked, self._plan, self._folder, self._limits.seeds)

        def make(it: Repetition) -> None:
            arguments = (it, self._plan, self._means, self._stream)
            is_done = it.directory.summary.exists()
            try:
                if is_done:  # by an earlier session
                    result = finalists.run_repetition(*arguments)
                else:
                    result = self.slots.call(finalists.run_repetition, *arguments)
            except DiedError as error:
                if self.slots.is_ending:
                    return
                result = (None, str(error))
            results[it.row.number, it.seed] = result
            self._finalists = finalists.ranked(picked, results, self._plan)
            self.write()
            value, why = result
            said = why if value is None else f"{self._plan.metric} {value:.4g}"
            self._say(f"finalist {it.row.number}, seed {it.seed}: {said}")

        def take() -> Callable[[], None] | None:
            it = next(waiting, None)
            budget = self._limits.budget
            if it is None:
                return None
            is_done = it.directory.summary.exists()
            if budget is not None and not is_done and self._elapsed + usual > budget and results:
                self._say(f"further repetitions would not end within the budget of {roughly(budget)}")
                self._ended += "; finalists were repeated with fewer seeds than requested, for want of time"
                return None
            return partial(make, it)

        self.slots.work_off(take)


def _await(run: Path) -> None:
    """Waits for a run that saves itself as its search was killed.

    Raises:
        BusyError: It does not end.
    """
    if not run.exists():
        return
    try:
        with filelock.FileLock(run / ".lock", timeout=_PATIENCE):
            pass
    except filelock.Timeout:
        raise BusyError(f"another process is still at work on {str(run)!r}") from None


def _key(settings: dict[str, Scalar]) -> str:
    return json.dumps(settings, sort_keys=True)
