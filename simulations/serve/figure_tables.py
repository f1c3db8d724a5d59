"""Which figures and scores a run has, what they are called, and in which charts they are drawn."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from common.charts import Plot
from common.metrics import table
from server.records import curves
from simulations.runs.run_view import View
from simulations.serve.answer_base import Answer


class ScoreInfo(Answer):
    """A score of the table of metrics."""

    name: str
    label: str = Field(description="what people call it")
    meaning: str
    better: Literal["lower", "higher", "neither"]
    form: Literal["figure", "figures", "number", "numbers"] = Field(
        description="figure: a float; figures: one for each client or class; number: of a client or class; numbers: "
        "those of several"
    )
    of: Literal["client", "class", ""] = Field(description="whose figures, or what the number is of")
    heading: str = Field(description="above a list of it")
    selects_rounds: bool = Field(description="whether rounds may be compared by it")
    at_a_glance: bool = Field(description="whether it is shown where a run has one line only")


class FigureInfo(Answer):
    """A figure that clients tell of their training."""

    name: str
    label: str = Field(description="what people call it")
    declared: bool = Field(description="whether the run's objective declares it")


class UnitInfo(Answer):
    """Another unit in which figures are given."""

    name: str
    factor: float = Field(description="what a figure is multiplied by")
    labels: list[str] = Field(description="what people call each figure of the chart in it")


class ChartInfo(Answer):
    """A chart over the rounds."""

    id: str
    title: str
    note: str
    names: list[str] = Field(description="what stands in it, of `curves`")
    is_log: bool = Field(description="whether it is drawn on a logarithmic scale at first")
    is_score: bool = Field(description="whether it shows scores, and not what clients tell")
    other: UnitInfo | None = Field(description="another unit of all its figures; null: they have none")


def score_table() -> list[ScoreInfo]:
    """Returns all scores that there are, in the order in which to show them."""
    return [
        ScoreInfo(
            name=score.name,
            label=score.label,
            meaning=score.meaning,
            better=score.better,
            form=score.form,
            of=score.of,
            heading=score.heading or score.name.replace("-", " "),
            selects_rounds=score.selects_rounds,
            at_a_glance=score.at_a_glance,
        )
        for score in table.scores().values()
    ]


def figures_of(view: View) -> list[FigureInfo]:
    """Returns the figures of clients' training, as the run's objective calls them; the main ones first."""
    declared, shown = curves.labels(view.objective), curves.labels(view.objective, view.columns.means)
    return [FigureInfo(name=name, label=label, declared=name in declared) for name, label in shown.items()]


def charts_of(view: View, scores: Mapping[str, Any]) -> list[ChartInfo]:
    """Returns the charts in which a run's figures and scores over the rounds are to be drawn, in order."""
    return [
        ChartInfo(
            id=plot.chart.name,
            title=plot.chart.title,
            note=plot.chart.note,
            names=list(plot.labels),
            is_log=plot.chart.is_logarithmic,
            is_score=plot.are_scores,
            other=_other(plot),
        )
        for plot in curves.plots(view.columns.means, scores, view.objective)
    ]


def _other(plot: Plot) -> UnitInfo | None:
    unit = plot.other_unit
    labels = [plot.others[name].label for name in plot.labels if name in plot.others]
    return None if unit is None else UnitInfo(name=unit.name, factor=unit.factor, labels=labels)
