"""What a study has beside other tables: means with intervals and tests between rows, as Markdown, LaTeX and CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from common.metrics import Score, table
from simulations.studies.collected_results import COSTS, Results
from simulations.studies.tables import grid, heading

_BETTER = {"lower": "lower is better", "higher": "higher is better", "neither": ""}
_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_SPECIAL |= {letter: f"\\{letter}" for letter in "&%$#_{}"}


def compared(results: Results) -> str:
    """Returns, of each score that rows are compared by, their means with intervals, and the tests between them."""
    parts = []
    for metric, intervals in results["intervals"].items():
        score = score_of(metric)
        better = f" ({_BETTER[score.better]})" if _BETTER[score.better] else ""
        rows = [[row["label"], *_figures(row, metric, intervals.get(row["label"]))] for row in results["rows"]]
        parts += [f"## {heading(metric)}{better}", grid(["", "mean", "std", "95 % interval", "n"], rows)]
        tested = [one for one in results["differences"] if one["metric"] == metric]
        if tested:
            head = ["difference", "mean", "95 % interval", "n", "t", "p", "p (Holm)"]
            parts.append(grid(head, [_difference(one, score.decimals) for one in tested]))
    return "\n\n".join([*parts, method(results)])


def method(results: Results) -> str:
    """Returns how intervals and tests are made, in words."""
    folds, tests = results["folds"], sum(one["p"] is not None for one in results["differences"])
    if not tests:
        return "No two rows have two cells in common yet, so there are no tests, and one cell has no interval."
    pairs = "seeds and folds" if folds else "seeds"
    of_folds = (
        f", with the variance of Nadeau and Bengio (2003), s² (1/n + 1/{folds - 1}), as the {folds} folds of a seed "
        "are not independent of each other"
        if folds
        else ""
    )
    return (
        "Intervals are those of the mean by Student's t, and differences are tested by the paired t-test over the "
        f"same {pairs}, two-sided{of_folds}. p (Holm) is corrected for the {tests} "
        f"test{'s' * (tests > 1)} of this study. "
        "Differences are the first row less the second."
    )


def score_of(metric: str) -> Score:
    """Returns a score that rows may be compared by."""
    return (table.columns(of_clients=False) | table.columns(of_clients=True))[metric]


def as_csv(results: Results) -> str:
    """Returns a line for each finished cell: row, seed, fold, costs, and its scores of the last round."""
    known = {name for row in results["rows"] for name in row["final"]}
    scores = [name for side in (False, True) for name in table.columns(of_clients=side) if name in known]
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["row", "seed", "fold", *scores, *COSTS])
    for row in results["rows"]:
        for run in row["runs"]:
            figures = [*(run["final"].get(name) for name in scores), *(run.get(name) for name in COSTS)]
            lines.writerow([row["label"], run["seed"], run.get("fold", ""), *("" if v is None else v for v in figures)])
    return text.getvalue()


def as_latex(results: Results) -> str:
    """Returns the table as LaTeX (``booktabs``): the scores that rows are compared by, with their intervals."""
    metrics = list(results["intervals"])
    lines = [
        f"% {_latex(results['title'])}: mean [95 % interval]; written by fedgan study",
        rf"\begin{{tabular}}{{l{'r' * len(metrics)}r}}",
        r"\toprule",
        " & ".join(["", *(_latex(heading(metric)) for metric in metrics), "$n$"]) + r" \\",
        r"\midrule",
    ]
    for row in results["rows"]:
        cells = []
        for metric in metrics:
            mean, _, between, _ = _figures(row, metric, results["intervals"][metric].get(row["label"]))
            cells.append(f"{mean} [{between}]".replace("–", "--") if "–" not in (mean, between) else mean)
        counts = {row["final"].get(metric, {}).get("n", 0) for metric in metrics}
        lines.append(" & ".join([_latex(row["label"]), *cells, str(max(counts))]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _figures(row: Mapping[str, Any], metric: str, interval: Sequence[float] | None) -> list[str]:
    """Returns mean, deviation, interval and number of a row's cells, as they are shown."""
    found, decimals = row["final"].get(metric), score_of(metric).decimals
    if not found:
        return ["–", "–", "–", "0"]
    deviation = f"{found['std']:.{decimals}f}" if found["n"] > 1 else "–"
    return [f"{found['mean']:,.{decimals}f}", deviation, _between(interval, decimals), str(found["n"])]


def _difference(one: Mapping[str, Any], decimals: int) -> list[str]:
    t = "–" if one["t"] is None else f"{one['t']:.2f}"
    between = None if one["low"] is None else (one["low"], one["high"])
    return [
        f"{one['row']} − {one['other']}",
        f"{one['mean']:+,.{decimals}f}",
        _between(between, decimals),
        str(one["n"]),
        t,
        _p(one["p"]),
        _p(one["p-corrected"]),
    ]


def _between(interval: Sequence[float] | None, decimals: int) -> str:
    return "–" if interval is None else f"{interval[0]:,.{decimals}f} to {interval[1]:,.{decimals}f}"


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _latex(text: str) -> str:
    return "".join(_SPECIAL.get(letter, letter) for letter in text)
