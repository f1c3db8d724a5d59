"""Figures of a table: distance over images seen, final metrics, and samples side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image

from common.metrics import Score, table
from common.metrics.fid import FID
from server.records.run_directory import RunDirectory
from server.records.sample_picture import SAMPLE_COLUMNS
from simulations.studies.cells import folder_of
from simulations.studies.entries import Entry

CURVES, FINAL, SAMPLES = f"{FID.name}.png", "final.png", "samples.png"

_SAMPLE_SHARE = 4  # columns of a run's sample picture that are shown of each row
_ACROSS = 8  # pictures side by side


def write_figures(folder: Path, results: Mapping[str, Any], real: Path | None = None) -> list[Path]:
    """Writes the figures that a table allows, and returns their paths.

    Args:
        folder: Of the table.
        results: See ``simulations.studies.collected_results.collect``.
        real: A picture of real images, laid out as samples are.
    """
    written = []
    rows = [row for row in results["rows"] if row["runs"]]
    if any(run["curve"] for row in rows for run in row["runs"]):
        save(draw_curves(rows), folder / CURVES)
        written.append(folder / CURVES)
    if _panels(rows):
        save(draw_final(rows, results["real"]), folder / FINAL)
        written.append(folder / FINAL)
    pictures = []
    for row in rows:
        first, slug = row["runs"][0], Entry(row["label"], row["kind"], {}).slug
        place = folder / slug / folder_of(first["seed"], first.get("fold", 0))
        samples = sorted(RunDirectory(place).samples.glob("round-*.png"))
        if samples:
            pictures.append((row["label"], samples[-1]))
    if pictures:
        beside = [("real images", real)] if real is not None and real.exists() else []
        save(draw_samples([*beside, *pictures]), folder / SAMPLES)
        written.append(folder / SAMPLES)
    return written


def draw_curves(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Returns the distance over images seen: a line a row, the mean of its seeds, in a band from least to greatest."""
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    axes = figure.subplots()
    for row, style in zip(rows, styles(len(rows)), strict=True):
        curves = [dict(map(tuple, run["curve"])) for run in row["runs"] if run["curve"]]
        shared = sorted(set.intersection(*map(set, curves))) if curves else []
        if not shared:
            continue
        values = np.array([[curve[seen] for seen in shared] for curve in curves])
        axes.plot(shared, values.mean(0), label=row["label"], **style)
        axes.fill_between(shared, values.min(0), values.max(0), color=style["color"], alpha=0.15, linewidth=0)
    axes.set_yscale("log")
    _plain(axes.yaxis)
    axes.set_xlabel("images seen")
    main = table.selecting_or_default({name for row in rows for name in row["final"]})
    axes.set_ylabel(f"{main} of a score between rounds (lower is better)")
    axes.grid(alpha=0.25, which="both")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def draw_final(rows: Sequence[Mapping[str, Any]], real: Mapping[str, Any] | None) -> Figure:
    """Returns the metrics of the last round: a point a row, with its range over seeds; real images as a line."""
    figure = Figure(figsize=(11, 1.4 + 0.3 * len(rows)), layout="constrained")
    shown = _panels(rows)
    panels = np.atleast_1d(np.array(figure.subplots(1, len(shown), sharey=True)))
    for axes, (name, score) in zip(panels, shown.items(), strict=True):
        for place, (row, style) in enumerate(zip(rows, styles(len(rows)), strict=True)):
            if found := row["final"].get(name):
                axes.plot([found["min"], found["max"]], [place, place], color=style["color"], linewidth=2)
                axes.plot(found["mean"], place, marker="o", color=style["color"])
        if real and name in real["final"]:
            axes.axvline(real["final"][name]["mean"], color="black", linewidth=1, linestyle=":")
        if score.drawn_in.is_logarithmic and axes.has_data():
            axes.set_xscale("log")
            _plain(axes.xaxis)
        axes.set_title(score.label, fontsize=10)
        axes.grid(alpha=0.25)
        axes.tick_params(axis="x", labelsize=8)
    panels[0].set_yticks(range(len(rows)), [row["label"] for row in rows])
    panels[0].invert_yaxis()
    return figure


def _panels(rows: Sequence[Mapping[str, Any]]) -> dict[str, Score]:
    """Returns the scores that have a panel and that some row has."""
    known = {name for row in rows for name in row["final"]}
    return {
        name: it for name, it in table.columns(of_clients=False).items() if it.benchmark == "panel" and name in known
    }


def draw_samples(pictures: Sequence[tuple[str, Path]]) -> Figure:
    """Returns the left columns of sample pictures side by side, each under its label."""
    across = min(_ACROSS, len(pictures))
    down = -(-len(pictures) // across)
    opened = [(label, _left(path)) for label, path in pictures]
    height, width = opened[0][1].shape[:2]
    figure = Figure(figsize=(1.3 * across, (1.3 * height / width + 0.3) * down), layout="constrained")
    panels = np.atleast_1d(np.array(figure.subplots(down, across))).ravel()
    for axes in panels:
        axes.axis("off")
    for axes, (label, picture) in zip(panels, opened, strict=False):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="none")
        axes.set_title(label.replace(" ", "\n", 1), fontsize=7)
    return figure


def _left(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as picture:
        pixels = np.asarray(picture)
    padding = 2
    cell = (pixels.shape[1] - padding) // SAMPLE_COLUMNS
    return pixels[:, : cell * _SAMPLE_SHARE + padding]


def _plain(axis: Any) -> None:
    """Writes the ticks of a logarithmic axis as 5, 10, 20 rather than as powers."""
    axis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0), numticks=8))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def styles(count: int) -> list[dict[str, Any]]:
    """Returns how the lines of so many rows are drawn: ten colours, then other strokes."""
    colours = [mpl.colormaps["tab10"](k) for k in range(10)]
    return [{"color": colours[k % 10], "linestyle": ("-", "--", ":")[k // 10 % 3]} for k in range(count)]


def save(figure: Figure, path: Path) -> None:
    """Writes a figure, the same bytes for the same figure."""
    figure.savefig(path, dpi=100, metadata={"Software": None})
