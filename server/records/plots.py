"""Plots of a run: who holds what, and figures over the rounds; as PNG files, or as SVG for a page in light or dark.

matplotlib is imported where something is drawn: a third of a second that the first round need not wait for.
"""

import functools
import html
import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.charts import Plot
from common.errors import ConfigError
from common.examples import nouns_of
from common.files import replacing
from server.records.curves import Curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_ROWS = 60
_MOST_NUMBERED = 20  # classes whose cells hold their numbers
_MOST_LINES = 12  # clients that have a line each; of more, the middle and the spread are drawn
_LONGEST_CLIENT = 32
_CELL = (0.55, 0.32)  # of a class and a client, in inches
_BLUE = (31, 111, 180)


def draw_partition(summary: Mapping[str, Any], path: Path) -> None:
    """Writes a picture of who holds what: a row a client, a column a class, the number of examples in each cell.

    A site that keeps its label counts to itself has a grey row. The picture of more than 60 clients is not taller than
    that of 60, and names some of them: a taller one takes hundreds of megabytes.

    Args:
        summary: ``clients``, each with ``partition``, ``num-examples`` and ``label-counts`` (or None), and, where they
            are known, ``class-names``; and ``shape``, which says of what kind the examples are: without it, images.
        path: The file; its ending says which kind, PNG without one.

    Raises:
        ConfigError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, _names_as_they_are():  # a run draws it once, so a torn one would stay
            _partition(summary).savefig(temporary, dpi=110, format=path.suffix[1:] or "png")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{str(path)!r} cannot be written: {reason}") from None


def partition_svg(summary: Mapping[str, Any]) -> str:
    """Returns the picture of ``draw_partition`` as SVG, in the colours of the page around it."""
    return _svg(lambda: _partition(summary), f"{_nouns(summary)[1]} of each class at each client")


def curves_svg(found: Curves, charts: Sequence[Plot], scored_with: str) -> str:
    """Returns plots over the rounds as SVG, in the colours of the page around them; empty where there are none.

    Args:
        found: The figures.
        charts: What stands together; see ``curves.plots``.
        scored_with: The extractor and the number of images of the scores, in words.
    """
    drawn: list[tuple[str, Callable[[Any], None]]] = []
    for plot in charts:
        note = scored_with if plot.are_scores else "mean over clients"
        drawn.append((plot.chart.title, functools.partial(_draw_plot, plot=plot, found=found, note=note)))
    if any(any(values) for values in found.drift.values()):  # a single client is the mean itself
        drawn.append(("distance of each client's weights", functools.partial(_draw_drift, found=found)))
    return "".join(_svg(functools.partial(_panel, draw), f"{title}, over rounds") for title, draw in drawn)


def _partition(summary: Mapping[str, Any]) -> "Figure":
    from matplotlib.figure import Figure

    clients = summary["clients"]
    named = range(0, len(clients), -(-len(clients) // _MOST_ROWS) or 1)
    classes = max((len(client["label-counts"] or ()) for client in clients), default=0) or 1
    names = [str(name) for name in summary.get("class-names", ())][:classes]
    counts = np.array([client["label-counts"] or [np.nan] * classes for client in clients], dtype=np.float32)
    most = max(1.0, float(np.nanmax(counts, initial=0.0)))
    longest = max((len(name) for name in names), default=1)
    low = 0.07 * min(longest, 16) if longest > 3 else 0.0  # for names that stand upright
    rows = min(len(clients), _MOST_ROWS)
    left = 0.075 * max(0, max((len(_client(client)) for client in clients), default=0) - 12)  # for long names
    figure = Figure(
        figsize=(max(1.8 + _CELL[0] * classes, 4.0) + left, 1.3 + low + _CELL[1] * rows), layout="constrained"
    )
    axes = figure.subplots()
    shades = np.empty((*counts.shape, 4), dtype=np.uint8)  # coloured here: numbers would take a hundred megabytes
    shades[..., :3] = _BLUE
    shades[..., 3] = np.round(np.nan_to_num(counts) / most * 255)
    shades[np.isnan(counts).all(1)] = (136, 136, 136, 68)  # a site that keeps its counts to itself
    edges = (np.arange(size + 1) - 0.5 for size in (classes, len(clients)))
    axes.pcolormesh(*edges, shades, rasterized=True)  # in a tenth of the memory of imshow, which resamples in float32
    axes.invert_yaxis()
    axes.set_aspect(_CELL[1] / _CELL[0] if len(clients) <= _MOST_ROWS else "auto")
    axes.set_xlabel("class")
    axes.set_ylabel("client")
    shown = range(0, classes, -(-classes // 50))
    axes.set_xticks(shown, [_short(names[k]) if k < len(names) else str(k) for k in shown], rotation=90 if low else 0)
    axes.set_yticks(named, [_client(clients[k]) for k in named])
    examples = sum(client["num-examples"] for client in clients)
    what = f"{examples:,} {_nouns(summary)[examples != 1]}"
    figure.suptitle(f"{what} of {len(clients):,} client{'s' if len(clients) > 1 else ''}", fontsize=11)
    if classes <= _MOST_NUMBERED and len(clients) <= _MOST_ROWS:
        for y, client in enumerate(clients):
            if client["label-counts"] is None:
                axes.text((classes - 1) / 2, y, "kept to itself", ha="center", va="center", fontsize=8)
            for x, count in enumerate(client["label-counts"] or ()):
                if count:
                    shade = "white" if count > 0.6 * most else "black"
                    axes.text(x, y, str(count), ha="center", va="center", fontsize=8, color=shade)
    return figure


def _nouns(summary: Mapping[str, Any]) -> tuple[str, str]:
    return nouns_of(summary.get("shape", {}))


def _panel(draw: Callable[[Any], None]) -> "Figure":
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    draw(axes)
    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.25)
    return figure


def _draw_plot(axes: Any, plot: Plot, found: Curves, note: str) -> None:
    for name, label in plot.labels.items():
        if plot.are_scores:
            axes.plot(*_points(found.rounds, found.scores[name]), label=label, marker=".")
        else:
            values = [float("nan") if value is None else value for value in found.means[name]]  # a gap where none is
            axes.plot(found.rounds, values, label=label, marker="." if len(values) < 3 else None)
    axes.set_title(plot.chart.title + (f"\n{note}" if note else ""), fontsize=10)
    if plot.are_scores and plot.chart.note:
        axes.set_ylabel(plot.chart.note.rstrip("."), fontsize=9)
    if {label.lower() for label in plot.labels.values()} != {plot.chart.title.lower()}:
        axes.legend(fontsize=8, frameon=False)
    if unit := plot.other_unit:
        beside = axes.secondary_yaxis("right", functions=(lambda x: x * unit.factor, lambda x: x / unit.factor))
        beside.set_ylabel(unit.name, fontsize=9)
    if plot.chart.is_logarithmic:
        _make_logarithmic(axes)
    else:
        axes.ticklabel_format(axis="y", useOffset=False)


def _make_logarithmic(axes: Any) -> None:
    """Gives a logarithmic axis enough numbers to be read by, also where its values are close to each other."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:.4g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    low, high = axes.get_ylim()
    if high < 4 * low:  # hardly a number would stand at it
        axes.set_yscale("linear")


def _draw_drift(axes: Any, found: Curves) -> None:
    axes.set_title("distance of each client's weights to the new mean", fontsize=10)
    if len(found.drift) <= _MOST_LINES:
        for partition, values in found.drift.items():
            rounds, known = _points(found.rounds, values)
            axes.plot(rounds, known, linewidth=1, marker="." if len(known) < 3 else None, label=str(partition))
        axes.legend(fontsize=7, ncols=2, title="client", title_fontsize=7, frameon=False)
    else:
        table = np.array(list(found.drift.values()), dtype=np.float64)  # None becomes NaN
        kept = np.flatnonzero(~np.isnan(table).all(0))
        rounds = [found.rounds[k] for k in kept]
        low, middle, high = np.nanpercentile(table[:, kept], (0, 50, 100), axis=0)
        axes.fill_between(rounds, low, high, alpha=0.25, linewidth=0, label=f"all {len(found.drift)} clients")
        axes.plot(rounds, middle, label="median", marker="." if len(kept) < 3 else None)
        axes.legend(fontsize=8, frameon=False)
    axes.set_ylim(bottom=0)


def _points(rounds: Sequence[int], values: Sequence[float | None]) -> tuple[list[int], list[float]]:
    """Returns the rounds that have a value, and the values: a line goes on over rounds without."""
    known = [(round, value) for round, value in zip(rounds, values, strict=True) if value is not None]
    return [round for round, _ in known], [value for _, value in known]


@contextmanager
def _names_as_they_are() -> Iterator[None]:
    """Draws names as text: dollars make no formula, and letters that the font lacks no warning."""
    from matplotlib import rc_context

    with rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _svg(draw: Callable[[], "Figure"], alt: str) -> str:
    """Returns a figure as SVG that stands in a page: black becomes the page's colour of text, white its background."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "fedgan"}), _names_as_they_are():
        draw().savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text).groups()  # type: ignore[union-attr]
    body = text[text.index(">", text.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, count=1, flags=re.DOTALL).replace("#000000", "currentColor")
    style = f"style='max-width:min(100%,{float(width) * 4 / 3:.0f}px)'"
    return f"<svg class=plot role=img aria-label='{html.escape(alt)}' {style} viewBox='0 0 {width} {height}'>{body}"


def _client(row: Mapping[str, Any]) -> str:
    name = _short(f"{row['partition']} {row.get('site', '')}".strip(), _LONGEST_CLIENT)
    return f"{name}  ({row['num-examples']})"


def _short(name: str, most: int = 16) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
