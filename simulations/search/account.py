"""What a search comes to, from what its study and its runs say."""

from typing import TYPE_CHECKING, Any

from common.config import RunConfig
from common.errors import CheckpointError
from common.files import write_atomically
from server.records import journal
from server.records.run_directory import RunDirectory
from simulations.runs.search_record import SearchFolder, TrialRow, TrialState
from simulations.search import study as memory
from simulations.search.plan import Plan

if TYPE_CHECKING:
    import optuna


class Rows:
    """The rows of a search's trials; those that have ended are made once.

    Args:
        folder: Of the search.
        study: Its memory.
    """

    def __init__(self, folder: SearchFolder, study: "optuna.Study") -> None:
        self._folder, self._study = folder, study
        self._ended: dict[int, TrialRow] = {}

    def all(self) -> tuple[list[TrialRow], int]:
        """Returns all trials that are some, in order, and how many draws were none."""
        rows, left_out = [], 0
        for trial in self._study.get_trials(deepcopy=False):
            if memory.LEFT_OUT in trial.user_attrs:
                left_out += 1
                continue
            row = self._ended.get(trial.number) or self._row(trial)
            if row.state != "running":
                self._ended[trial.number] = row
            rows.append(row)
        return rows, left_out

    def _row(self, trial: "optuna.trial.FrozenTrial") -> TrialRow:
        directory = self._folder.trial(trial.number)
        rounds, seconds = _work_of(directory)
        known: dict[str, TrialState] = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
        steps = trial.intermediate_values
        value = trial.value if trial.value is not None else steps[max(steps)] if steps else None
        return TrialRow(
            number=trial.number,
            state=known.get(trial.state.name, "running"),
            parameters=dict(trial.params),
            settings=trial.user_attrs.get(memory.SETTINGS, {}),
            value=value,
            rounds=rounds,
            seconds=seconds,
            reason=trial.user_attrs.get(memory.REASON, ""),
            run=directory.path.relative_to(self._folder.path).as_posix(),
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


def write_best(folder: SearchFolder, plan: Plan, row: TrialRow, words: str) -> None:
    """Writes the best settings as a preset: what differs from the defaults, with what the search has set.

    Args:
        folder: Of the search.
        plan: What was searched.
        row: The best trial.
        words: What it scored, in a line.
    """
    import tomli_w

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
