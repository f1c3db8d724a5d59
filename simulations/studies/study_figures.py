"""The figure of a study: each row's cells with the mean and its interval, and the differences that were tested."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from simulations.studies.collected_results import Results
from simulations.studies.figures import save, styles
from simulations.studies.study_tables import score_of

FILE = "study.png"

_MOST_DIFFERENCES = 30


def write_study_figure(folder: Path, results: Results) -> Path | None:
    """Writes the figure of a study, and returns its path; None where no cell is finished."""
    if not any(row["runs"] for row in results["rows"]):
        return None
    save(draw_study(results), folder / FILE)
    return folder / FILE


def draw_study(results: Results) -> Figure:
    """Returns a line of two panels for each score: rows with cells, means and intervals; differences with intervals."""
    metrics, rows = list(results["intervals"]), results["rows"]
    by_metric = {
        m: [one for one in results["differences"] if one["metric"] == m and one["low"] is not None] for m in metrics
    }
    tallest = max(len(rows), *(min(len(those), _MOST_DIFFERENCES) for those in by_metric.values()))
    figure = Figure(figsize=(12, len(metrics) * (1.2 + 0.32 * tallest)), layout="constrained")
    panels = np.atleast_2d(np.array(figure.subplots(len(metrics), 2)))
    for (left, right), metric in zip(panels, metrics, strict=True):
        _draw_rows(left, rows, metric, results["intervals"][metric])
        _draw_differences(right, by_metric[metric][:_MOST_DIFFERENCES], metric)
    return figure


def _draw_rows(axes: Any, rows: Sequence[Mapping[str, Any]], metric: str, intervals: Mapping[str, Any]) -> None:
    for place, (row, style) in enumerate(zip(rows, styles(len(rows)), strict=True)):
        values = [run["final"][metric] for run in row["runs"] if run["final"].get(metric) is not None]
        colour = style["color"]
        axes.plot(values, [place] * len(values), ".", color=colour, alpha=0.45)
        if interval := intervals.get(row["label"]):
            axes.plot(interval, [place, place], color=colour, linewidth=2)
        if values:
            axes.plot(sum(values) / len(values), place, marker="o", color=colour)
    axes.set_yticks(range(len(rows)), [row["label"] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    better = score_of(metric).better
    axes.set_title(f"{score_of(metric).label}{f' ({better} is better)' if better != 'neither' else ''}", fontsize=10)
    axes.set_xlabel("cells, their mean, and its 95 % interval", fontsize=8)
    axes.grid(alpha=0.25)


def _draw_differences(axes: Any, differences: Sequence[Mapping[str, Any]], metric: str) -> None:
    if not differences:
        axes.axis("off")
        return
    axes.axvline(0, color="black", linewidth=1, linestyle=":")
    for place, one in enumerate(differences):
        is_sure = one["p-corrected"] is not None and one["p-corrected"] < 0.05
        colour = "black" if is_sure else "grey"
        axes.plot([one["low"], one["high"]], [place, place], color=colour, linewidth=2)
        axes.plot(one["mean"], place, marker="o", color=colour)
    axes.set_yticks(range(len(differences)), [f"{one['row']}\n− {one['other']}" for one in differences], fontsize=7)
    axes.set_ylim(len(differences) - 0.5, -0.5)
    axes.set_title(f"differences of {metric}", fontsize=10)
    axes.set_xlabel("mean and 95 % interval; black where p < 0.05 after Holm's correction", fontsize=8)
    axes.grid(alpha=0.25)
