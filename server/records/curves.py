"""How figures of a run went over its rounds, and in which charts they stand."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace

from common.charts import Chart, Plot, grouped
from common.journal_lines import RoundLine, figures_of
from common.metrics import table
from common.objectives import LOSSES, Objective
from server.records import journal

OF_ANY_CLIENT = {"drift": "drift", "seconds": "seconds"}
"""What people call those figures of a client that no objective declares."""

_NOT_AVERAGED = ("examples", *OF_ANY_CLIENT)
_OTHERS = Chart("others", "Other figures of clients", LOSSES.note)


@dataclass(frozen=True)
class Curves:
    """How figures went over the rounds; None where a round has no such figure.

    Attributes:
        rounds: In order.
        means: By name, each figure that clients tell of their training, a value a round: the mean by examples.
        drift: By partition, a value a round: the distance of the client's weights to the new mean.
        scores: By name, each single-valued score that any round has, a value a round.
    """

    rounds: list[int]
    means: dict[str, list[float | None]]
    drift: dict[int, list[float | None]]
    scores: dict[str, list[float | None]]


def curves(lines: Sequence[RoundLine]) -> Curves:
    """Returns how figures went over the rounds of a journal."""
    means: dict[str, list[float | None]] = {}
    drift: dict[int, list[float | None]] = {}
    for index, line in enumerate(lines):
        for key in averaged(line):
            means.setdefault(key, [None] * len(lines))[index] = journal.mean_of(line, key)
        for client in line["clients"]:
            if "drift" in client:  # of a client that shares weights
                drift.setdefault(client["partition"], [None] * len(lines))[index] = client["drift"]
    return Curves([line["round"] for line in lines], means, dict(sorted(drift.items())), score_curves(lines))


def averaged(line: RoundLine) -> list[str]:
    """Returns the names of the figures that any client tells of its training in a round: losses and the like."""
    found = dict.fromkeys(key for client in line["clients"] for key in figures_of(client))
    return [key for key in found if key not in _NOT_AVERAGED]


def score_curves(lines: Sequence[RoundLine]) -> dict[str, list[float | None]]:
    """Returns how each single-valued score went over the rounds of a journal, by its name."""
    scores: dict[str, list[float | None]] = {}
    for index, line in enumerate(lines):
        for key, value in line["scores"].items():
            if isinstance(value, float):
                scores.setdefault(key, [None] * len(lines))[index] = value
    return scores


def labels(objective: Objective | None, means: Iterable[str] = ()) -> dict[str, str]:
    """Returns what people call the figures that clients tell, by name, those first that tell most.

    Args:
        objective: The run's; None: it is not known, and figures are called by their names in the journal.
        means: The names of figures that clients do tell.
    """
    declared = (*objective.losses(), *objective.diagnostics()) if objective else ()
    known = {figure.name: figure.label for figure in declared}
    return known | {name: _words(name) for name in means if name not in known} | OF_ANY_CLIENT


def plots(means: Iterable[str], scores: Container[str], objective: Objective | None) -> list[Plot]:
    """Returns the charts of a run: what rounds are compared by, then the training, then the other scores.

    Args:
        means: The names of figures that clients tell.
        scores: Those of scores.
        objective: The run's; None: it is not known.
    """
    names, of_scores = list(means), table.plots(scores)
    declared = (*objective.losses(), *objective.diagnostics()) if objective else ()
    rows = [(figure.chart, (figure.name, figure.label)) for figure in declared if figure.name in names]
    known = {figure.name for figure in declared}
    rows += [(LOSSES if n.endswith("-loss") else _OTHERS, (n, _words(n))) for n in names if n not in known]
    training = [Plot(chart, dict(those)) for chart, those in grouped(rows).items()]
    others = {figure.name: figure.other for figure in declared if figure.other}
    training = [replace(plot, others={k: others[k] for k in plot.labels if k in others}) for plot in training]
    return [*of_scores[:1], *training, *of_scores[1:]]


def _words(name: str) -> str:
    return name.replace("-", " ")
