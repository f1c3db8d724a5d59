"""One trial of a search: a run from its settings to its score, from where it was left."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from common.config import RunConfig
from common.errors import CheckpointError, DataError, DivergenceError, OutputError, in_words
from common.hooks import Answer, FinishedRound, Keep, Stop
from common.journal_lines import ScoredRound
from server.records import journal
from server.records.run_directory import RunDirectory
from server.rounds.base import Hook
from simulations.runs.search_record import SearchFolder
from simulations.runtime import launch
from simulations.search import study as memory
from simulations.search.plan import Plan

if TYPE_CHECKING:
    import optuna

log = logging.getLogger("fedgan.simulations")

_PRUNED = "pruned: "


@dataclass(frozen=True)
class Means:
    """How runs are made.

    Attributes:
        workers: Clients at a time; None: one a core.
        engine: See ``simulations.runtime.in_process.simulate``.
    """

    workers: int | None = None
    engine: str = "threads"


class ReportScores:
    """A round hook that tells the study each score of a trial, and ends the trial once its pruner gives it up.

    Args:
        trial: Of Optuna's.
        plan: The search.
    """

    def __init__(self, trial: "optuna.Trial", plan: Plan) -> None:
        self._trial, self._plan = trial, plan
        self._reported = set(memory.frozen(trial.study, trial.number).intermediate_values)

    def after(self, round: FinishedRound) -> Answer:
        """Tells the score of a round, if it has one; a run's last round is never cut short."""
        why = self._judge(round.line)
        return Stop(why, final_scores=False) if why and not round.last else Keep()

    def replay(self, lines: Sequence[ScoredRound]) -> str | None:
        """Tells the scores of a journal, of a trial that goes on; returns why it is over after the last one."""
        verdicts = [self._judge(line) for line in lines]
        return verdicts[-1] if verdicts else None

    def _judge(self, line: ScoredRound) -> str | None:
        value, number = score_in(line["scores"], self._plan.metric), line["round"]
        if value is None:
            return None
        if number not in self._reported:
            self._trial.report(value, number)
            self._reported.add(number)
        with memory.quietly():
            if not self._trial.should_prune():
                return None
        return f"{_PRUNED}{self._plan.metric} {value:.4g} after round {number}, by {self._plan.pruner}"


def score_in(scores: Mapping[str, Any], metric: str) -> float | None:
    """Returns a finite score; None where there is none."""
    value = scores.get(metric)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def run_trial(folder: SearchFolder, plan: Plan, number: int, means: Means, stream: TextIO | None) -> None:
    """Makes a trial's run, from the beginning or where it was left, and tells the study what came of it.

    Args:
        folder: Of the search.
        plan: The search.
        number: Of the trial, whose settings the study knows.
        means: How runs are made.
        stream: Where to show how it goes; None: only warnings, on stderr.

    Raises:
        DataError, OutputError: No trial can be made, as what is wrong concerns all of them.
    """
    study = memory.open_study(folder.study, plan)
    trial = memory.reopened(study, number)
    directory = folder.trial(number)
    try:
        config = plan.base.replaced(trial.user_attrs[memory.SETTINGS])
        if not directory.summary.exists():
            hook = ReportScores(trial, plan)
            done = journal.read(directory.journal) if directory.config.exists() else []
            why = hook.replay(done)
            if why and done[-1]["round"] < config.federation.num_rounds:
                memory.prune(study, number, why)
                return
            make_run(config, directory, means, stream, [hook])
        _conclude(study, number, plan, directory)
    except (OutputError, DataError):
        raise
    except OSError as error:
        raise OutputError(in_words(error)) from error
    except DivergenceError as error:  # settings to keep away from
        memory.prune(study, number, f"diverged: {in_words(error)}")
    except Exception as error:  # whatever ends one trial, the others go on
        log.debug("trial %d", number, exc_info=True)
        memory.fail(study, number, in_words(error))


def make_run(
    config: RunConfig, directory: RunDirectory, means: Means, stream: TextIO | None, hooks: Sequence[Hook] = ()
) -> None:
    """Makes a run to its end, from where it was left."""
    resume = directory.config.exists()
    config = config.replaced({"output.dir": str(directory.path), "output.resume": resume})
    launch.train(config, directory, means.workers, means.engine, stream, hooks)


def result_of(directory: RunDirectory, metric: str) -> tuple[float | None, str]:
    """Returns the final score of a run that has ended, and why it has none.

    Raises:
        CheckpointError: Its summary is not whole.
    """
    summary = directory.read_summary()
    value = score_in(summary.get("scores", {}), metric)
    missing = "; ".join(summary.get("not-scored", ()))
    return value, "" if value is not None else f"it has no {metric}{': ' if missing else ''}{missing}"


def _conclude(study: "optuna.Study", number: int, plan: Plan, directory: RunDirectory) -> None:
    """Tells the study what a run that has ended came to: its score, that it was pruned, or why it has none."""
    try:
        value, missing = result_of(directory, plan.metric)
        early = [event["reason"] for event in journal.events(directory.journal) if event["event"] == "early-stop"]
    except CheckpointError as error:
        memory.fail(study, number, in_words(error))
        return
    if value is not None:
        study.tell(number, value)
    elif early and early[-1].startswith(_PRUNED):
        memory.prune(study, number, early[-1])
    else:
        memory.fail(study, number, missing)
