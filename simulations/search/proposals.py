"""Which trial comes next, if any: settings that are a configuration, were not tried, and for which there is time."""

import json
from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING

from common.config import Scalar
from common.errors import ConfigError, FedGANError
from server.records.time_left import roughly
from simulations.runs.search_record import TrialRow
from simulations.search import study as memory
from simulations.search.account import Account
from simulations.search.plan import Limits, Plan
from simulations.search.results import spoken

if TYPE_CHECKING:
    import optuna

_MOST_LEFT_OUT = 50  # draws in sequence that are no trials
_HOPELESS = 3  # first trials that fail, of which none succeeds


class Proposals:
    """Proposes trials.

    Args:
        study: What is known of those before.
        plan: What is searched.
        limits: How much the search may do.
        account: What it has come to.
    """

    def __init__(self, study: "optuna.Study", plan: Plan, limits: Limits, account: Account) -> None:
        self._study, self._plan, self._limits, self._account = study, plan, limits, account
        self._tried = {
            _key(trial.user_attrs[memory.SETTINGS]): trial.number
            for trial in reversed(study.get_trials(deepcopy=False))
            if memory.SETTINGS in trial.user_attrs
        }

    def next(self) -> int | None:
        """Returns the number of a new trial, whose settings are drawn; None if there is to be none, and notes why.

        Raises:
            ConfigError: Nothing that is drawn is a configuration.
            FedGANError: The first trials have all failed.
        """
        why, plan = "", self._plan
        for _ in range(_MOST_LEFT_OUT):
            if over := self._why_over():
                self._account.ended = over
                return None
            number = len(self._study.get_trials(deepcopy=False))
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
        if not self._account.rows():
            raise ConfigError(f"nothing that was drawn {_MOST_LEFT_OUT} times is a configuration; the last: {why}")
        self._account.ended = f"{_MOST_LEFT_OUT} draws in sequence were nothing new"
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
        """Returns why no further trial is to be begun; empty if one is."""
        rows, budget = self._account.rows(), self._limits.budget
        failed = [row for row in rows if row.state == "failed"]
        if len(failed) >= _HOPELESS and len(failed) == len([row for row in rows if row.state != "running"]):
            raise FedGANError(f"the first {len(failed)} trials have all failed; the last: {failed[-1].reason}")
        if len(rows) >= self._limits.trials:
            return f"{len(rows)} trials are made"
        if budget is None:
            return ""
        usual = usual_seconds(rows)
        reserved = self._limits.finalists * self._limits.seeds * usual / self._limits.side_by_side
        is_over = self._account.elapsed + usual + reserved >= budget
        return f"another trial would not end within the budget of {roughly(budget)}" if is_over else ""


def usual_seconds(rows: list[TrialRow]) -> float:
    """Returns how long trials take that are not pruned; 0 where there is none yet."""
    return fmean([row.seconds or 0.0 for row in rows if row.state == "complete"] or [0.0])


def _key(settings: Mapping[str, Scalar]) -> str:
    return json.dumps(settings, sort_keys=True)
