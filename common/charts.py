"""In which charts figures stand together, as metrics and objectives declare it; whoever draws them asks here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar


@dataclass(frozen=True)
class Chart:
    """A chart over the rounds.

    Attributes:
        name: Tells it from others; kebab-case.
        title: Its heading.
        note: What it says, in a sentence or two.
        is_logarithmic: Whether its values are read on a logarithmic scale at first.
    """

    name: str
    title: str
    note: str = ""
    is_logarithmic: bool = False


@dataclass(frozen=True)
class Plot:
    """A chart with the figures that are drawn in it.

    Attributes:
        chart: The chart.
        labels: By name of each figure, what people call it.
        are_scores: Whether the figures are scores, which some rounds have only.
    """

    chart: Chart
    labels: Mapping[str, str]
    are_scores: bool = False


T = TypeVar("T")


def grouped(rows: Iterable[tuple[Chart, T]]) -> dict[Chart, list[T]]:
    """Returns what stands in each chart, in the order in which they come."""
    found: dict[Chart, list[T]] = {}
    for chart, row in rows:
        found.setdefault(chart, []).append(row)
    return found
