"""In which charts figures stand together, as metrics and objectives declare it; whoever draws them asks here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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
class Unit:
    """Another unit in which a figure is given.

    Attributes:
        name: Of the unit: ``bits``.
        label: What people call the figure in it.
        factor: What the figure is multiplied by.
    """

    name: str
    label: str
    factor: float


@dataclass(frozen=True)
class Plot:
    """A chart with the figures that are drawn in it.

    Attributes:
        chart: The chart.
        labels: By name of each figure, what people call it.
        are_scores: Whether the figures are scores, which some rounds have only.
        others: By name, those figures that are given in another unit too.
    """

    chart: Chart
    labels: Mapping[str, str]
    are_scores: bool = False
    others: Mapping[str, Unit] = field(default_factory=dict)

    @property
    def other_unit(self) -> Unit | None:
        """The other unit of all its figures; None where they do not have the same one."""
        units = [self.others.get(name) for name in self.labels]
        first = units[0] if units else None
        alike = first is not None and all(it is not None and it.factor == first.factor for it in units)
        return first if alike else None


T = TypeVar("T")


def grouped(rows: Iterable[tuple[Chart, T]]) -> dict[Chart, list[T]]:
    """Returns what stands in each chart, in the order in which they come."""
    found: dict[Chart, list[T]] = {}
    for chart, row in rows:
        found.setdefault(chart, []).append(row)
    return found
