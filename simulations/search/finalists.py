"""Finalists of a search: its best trials, repeated with other seeds, as one score is luck in part."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TextIO

from common.errors import DataError, OutputError, in_words
from server.records.run_directory import RunDirectory
from simulations.runs.search_record import FinalistRow, SearchFolder, TrialRow
from simulations.search.plan import Plan
from simulations.search.trials import Means, make_run, result_of


@dataclass(frozen=True)
class Repetition:
    """One run of a finalist.

    Attributes:
        row: Its trial.
        seed: Root of its random numbers, which no trial has.
        directory: Where it is.
    """

    row: TrialRow
    seed: int
    directory: RunDirectory

    @property
    def is_done(self) -> bool:
        """Whether it has ended, in an earlier session."""
        return self.directory.summary.exists()


def pick(rows: Sequence[TrialRow], plan: Plan, most: int) -> list[TrialRow]:
    """Returns the trials with the best scores, best first."""
    scored = [row for row in rows if row.state == "complete" and row.value is not None]
    return sorted(scored, key=lambda row: _order(plan, row.value))[:most]


def repetitions(picked: Sequence[TrialRow], plan: Plan, folder: SearchFolder, seeds: int) -> Iterator[Repetition]:
    """Yields the runs of finalists: all of them with one seed, then with the next."""
    for seed in range(plan.base.seed + 1, plan.base.seed + 1 + seeds):
        for row in picked:
            yield Repetition(row, seed, folder.finalist(row.number, seed))


def run_repetition(it: Repetition, plan: Plan, means: Means, stream: TextIO | None) -> tuple[float | None, str]:
    """Makes a run of a finalist, from where it was left; returns its score, or why it has none.

    Raises:
        DataError, OutputError: No run can be made.
    """
    try:
        if not it.is_done:
            make_run(plan.base.replaced({**it.row.settings, "seed": it.seed}), it.directory, means, stream)
        return result_of(it.directory, plan.metric)
    except (OutputError, DataError):
        raise
    except OSError as error:
        raise OutputError(in_words(error)) from error
    except Exception as error:  # whatever ends one run, the others go on
        return None, in_words(error)


def ranked(
    picked: Sequence[TrialRow], results: dict[tuple[int, int], tuple[float | None, str]], plan: Plan
) -> list[FinalistRow]:
    """Returns finalists by the means of their repetitions, best first; what they were picked by does not count.

    Args:
        picked: Best first, by those.
        results: A score, or why there is none, by trial and seed.
        plan: The search.
    """
    rows = []
    for trial in picked:
        if trial.value is None:  # nothing that ``pick`` returns
            continue
        own = {seed: result for (number, seed), result in results.items() if number == trial.number}
        values = {seed: value for seed, (value, _) in own.items() if value is not None}
        reasons = {seed: why for seed, (value, why) in own.items() if value is None}
        rows.append(
            FinalistRow(
                trial=trial.number,
                first=trial.value,
                values=values,
                reasons=reasons,
                mean=fmean(values.values()) if values else None,
                deviation=stdev(values.values()) if len(values) > 1 else None,
            )
        )
    complete = max((len(row.values) for row in rows), default=0)
    return sorted(rows, key=lambda row: (len(row.values) < complete, _order(plan, row.mean)))


def _order(plan: Plan, value: float | None) -> float:
    if value is None:
        return float("inf")
    return value if plan.better == "lower" else -value
