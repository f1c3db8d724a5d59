"""The course of a search: trials until there are enough or time is up, then finalists, then the best settings."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TextIO

import filelock

from common.errors import BusyError, ConfigError, OutputError
from server.records import journal
from server.records.ending import heeding_signals
from server.records.time_left import roughly
from simulations.runs.search_record import SearchFolder, SearchRecord, read_record
from simulations.search import finalists
from simulations.search import study as memory
from simulations.search.account import Account
from simulations.search.finalists import Repetition
from simulations.search.plan import Limits, Plan
from simulations.search.proposals import Proposals, usual_seconds
from simulations.search.results import spoken
from simulations.search.slots import DiedError, Slots
from simulations.search.trials import Means, run_trial

_MOST_TRIES = 3  # of a trial whose process dies
_PATIENCE = 30.0  # seconds for a run of a session that was killed to end


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
        known = read_record(folder)
        if known is not None:
            plan.require_same(known, str(folder.path))
        else:
            plan.record(limits.trials, limits.budget).write(folder)  # from here on the folder is this search's
        course = _Course(folder, plan, limits, means, stream, say)
        try:
            course.make_trials()
            course.make_finalists()
        finally:
            course.slots.end()
            course.account.note_time()
        course.account.write()
        return course.account.record


@contextmanager
def _locked(folder: SearchFolder) -> Iterator[None]:
    place = str(folder.path)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        others = sorted({path.name for path in folder.path.iterdir()} - {folder.lock.name})
        if others and not folder.record.exists():
            raise ConfigError(f"--out {place!r} holds other things ({', '.join(others[:3])}): name a new folder")
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
        self.slots = Slots(limits.side_by_side)
        self._stream = stream if self.slots.is_here else None
        memory.mend(folder.study)
        self._study = memory.open_study(folder.study, plan)
        self.account = Account(folder, plan, limits, self._study)
        self._unfinished = self._left_by_others()
        self._proposals = Proposals(self._study, plan, limits, self.account)

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
        number = self._unfinished.pop(0) if self._unfinished else self._proposals.next()
        if number is None:
            return None
        trial = memory.reopened(self._study, number)
        trial.set_user_attr(memory.TRIES, trial.user_attrs.get(memory.TRIES, 0) + 1)
        self.account.write()
        which = f"trial {number}, {len(self.account.record.rows)} of {self._limits.trials}"
        self._say(f"{which}: {spoken(trial.user_attrs[memory.SETTINGS])}")
        return partial(self._make_trial, number)

    def _make_trial(self, number: int) -> None:
        try:
            self.slots.call(run_trial, self._folder, self._plan, number, self._means, self._stream)
        except DiedError as error:
            if self.slots.is_ending:
                return
            memory.fail(self._study, number, str(error))
        self.account.write()
        record = self.account.record
        row = next(row for row in record.rows if row.number == number)
        if row.state == "complete":
            best = next(it for it in record.rows if it.number == record.best)
            also = "the best so far" if best.number == number else f"the best is trial {best.number}, {best.value:.4g}"
            self._say(f"trial {number}: {self._plan.metric} {row.value:.4g} ({also})")
        else:
            self._say(f"trial {number} {'has failed: ' if row.state == 'failed' else ''}{row.reason}")

    def make_finalists(self) -> None:
        """Repeats the best trials with other seeds, and ranks them by the means."""
        rows = self.account.rows()
        picked = finalists.pick(rows, self._plan, self._limits.finalists)
        results: dict[tuple[int, int], tuple[float | None, str]] = {}
        waiting = finalists.repetitions(picked, self._plan, self._folder, self._limits.seeds)
        budget, usual = self._limits.budget, usual_seconds(rows)

        def take() -> Callable[[], None] | None:
            it = next(waiting, None)
            if it is None:
                return None
            if results and budget is not None and not it.is_done and self.account.elapsed + usual > budget:
                self._say(f"further repetitions would not end within the budget of {roughly(budget)}")
                self.account.ended += "; finalists were repeated with fewer seeds than requested, for want of time"
                return None
            return partial(make, it)

        def make(it: Repetition) -> None:
            arguments = (it, self._plan, self._means, self._stream)
            try:
                run = finalists.run_repetition
                result = run(*arguments) if it.is_done else self.slots.call(run, *arguments)
            except DiedError as error:
                if self.slots.is_ending:
                    return
                result = (None, str(error))
            results[it.row.number, it.seed] = result
            self.account.finalists = finalists.ranked(picked, dict(results), self._plan)
            self.account.write()
            value, why = result
            said = why if value is None else f"{self._plan.metric} {value:.4g}"
            self._say(f"finalist {it.row.number}, seed {it.seed}: {said}")

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
