"""What a search comes to, from what its study and its runs say: its record, and the preset of its best settings."""

import threading
import time
from typing import TYPE_CHECKING, Any

import tomli_w

from common.config import RunConfig
from common.errors import CheckpointError
from common.files import write_atomically
from server.records import journal
from server.records.run_directory import RunDirectory
from simulations.runs.search_record import FinalistRow, SearchFolder, TrialRow, TrialState
from simulations.search import finalists
from simulations.search import study as memory
from simulations.search.plan import Limits, Plan

if TYPE_CHECKING:
    import optuna

_SECONDS = "seconds-of-session-"


class Account:
    """The record of a search under way, kept in its folder. What trials came to is in the study, and outlives a kill.

    Args:
        folder: Of the search.
        plan: What is searched.
        limits: How much it may do.
        study: Its memory.

    Attributes:
        record: As it was last written.
        finalists: Best first.
        ended: Why no further trial is made.
    """

    def __init__(self, folder: SearchFolder, plan: Plan, limits: Limits, study: "optuna.Study") -> None:
        self._folder, self._plan, self._study = folder, plan, study
        self._begun = time.monotonic()
        before = [float(value) for name, value in study.user_attrs.items() if name.startswith(_SECONDS)]
        self._session, self._earlier = f"{_SECONDS}{len(before)}", sum(before)
        self._rows: dict[int, TrialRow] = {}
        self._lock = threading.Lock()
        self.record = plan.record(limits.trials, limits.budget)
        self.finalists: list[FinalistRow] = []
        self.ended = ""

    @property
    def elapsed(self) -> float:
        """How long the search was at work, over all its sessions, in seconds."""
        return self._earlier + time.monotonic() - self._begun

    def note_time(self) -> None:
        """Notes how long this session was at work."""
        self._study.set_user_attr(self._session, time.monotonic() - self._begun)

    def write(self) -> None:
        """Writes what the search has come to, and its best settings so far."""
        with self._lock:
            self.note_time()
            rows = self.rows()
            shares = memory.importances(self._study)
            parameters = [row.model_copy(update={"importance": shares.get(row.name)}) for row in self.record.parameters]
            best, words = self._best_of(rows)
            self.record = self.record.model_copy(
                update={
                    "seconds": self.elapsed,
                    "parameters": parameters,
                    "rows": rows,
                    "left_out": sum(memory.LEFT_OUT in it.user_attrs for it in self._study.get_trials(deepcopy=False)),
                    "finalists": self.finalists,
                    "best": best.number if best else None,
                    "ended": self.ended,
                }
            )
            self.record.write(self._folder)
            if best is not None:
                _write_best(self._folder, self._plan, best, words)

    def rows(self) -> list[TrialRow]:
        """Returns all trials, in order, without draws that are none; a trial that has ended is looked at once."""
        rows = []
        for trial in self._study.get_trials(deepcopy=False):
            if memory.LEFT_OUT not in trial.user_attrs:
                row = self._rows.get(trial.number) or _row_of(trial, self._folder)
                if row.state != "running":
                    self._rows[trial.number] = row
                rows.append(row)
        return rows

    def _best_of(self, rows: list[TrialRow]) -> tuple[TrialRow | None, str]:
        """Returns the trial with the best settings so far, and what it scored in words."""
        metric = self._plan.metric
        if self.finalists and (first := self.finalists[0]).mean is not None:
            spread = f", standard deviation {first.deviation:.3g}" if first.deviation is not None else ""
            seeds = f"on average over {len(first.values)} other seeds{spread}"
            words = f"trial {first.trial}, {metric} {first.mean:.4g} {seeds}"
            return next(row for row in rows if row.number == first.trial), words
        for best in finalists.pick(rows, self._plan, 1):
            return best, f"trial {best.number}, {metric} {best.value:.4g} with one seed"
        return None, ""


def _row_of(trial: "optuna.trial.FrozenTrial", folder: SearchFolder) -> TrialRow:
    directory = folder.trial(trial.number)
    rounds, seconds = _work_of(directory)
    known: dict[str, TrialState] = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    steps = trial.intermediate_values
    return TrialRow(
        number=trial.number,
        state=known.get(trial.state.name, "running"),
        parameters=dict(trial.params),
        settings=trial.user_attrs.get(memory.SETTINGS, {}),
        value=trial.value if trial.value is not None else steps[max(steps)] if steps else None,
        rounds=rounds,
        seconds=seconds,
        reason=trial.user_attrs.get(memory.REASON, ""),
        run=directory.path.relative_to(folder.path).as_posix(),
    )


def _work_of(directory: RunDirectory) -> tuple[int, float]:
    """Returns how many rounds a run has, and how long it was at work on them and on its final scores."""
    try:
        lines = journal.read(directory.journal) if directory.journal.exists() else []
        summary = directory.read_summary()
    except CheckpointError:
        return 0, 0.0
    seconds = sum(sum(line["seconds"].values()) for line in lines)
    return (lines[-1]["round"] if lines else 0), seconds + summary.get("seconds", {}).get("final-scores", 0.0)


def _write_best(folder: SearchFolder, plan: Plan, row: TrialRow, words: str) -> None:
    """Writes the best settings as a preset: what differs from the defaults, with what the search has set."""
    config, defaults = plan.base.replaced(row.settings).flat(), RunConfig().flat()
    own = config | dict(plan.own) | row.settings
    kept = {key: value for key, value in own.items() if key in row.settings or value != defaults[key]}
    nested: dict[str, Any] = {}
    for key, value in kept.items():
        section, _, name = key.rpartition(".")
        if section != "output":
            (nested.setdefault(section, {}) if section else nested)[name] = value
    head = f"# Best settings of fedgan search {plan.preset}: {words}.\n# Searched: {', '.join(sorted(row.settings))}\n"
    write_atomically(folder.best, (head + tomli_w.dumps(nested)).encode())
