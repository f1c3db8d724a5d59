"""Figures of a table's runs, each from its folder alone, and their mean and spread over seeds and folds.

``collect`` makes one JSON object of a table's folder; all that is shown, the page and the figures too, is made of it.
"""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from common.machine import UNKNOWN
from common.metrics import METRICS, table
from server.records import journal
from server.records.run_directory import RunDirectory
from simulations.studies import alone
from simulations.studies.cells import Key, finished, key_of
from simulations.studies.comparisons import Difference, holm, interval, paired
from simulations.studies.costs import costs_in
from simulations.studies.entries import Entry

Results = dict[str, Any]
COSTS = ("examples-seen", "up-mb", "down-mb", "seconds", "cpu-seconds", "gpu-joules")


def collect(folder: Path, real: Path | None = None) -> Results:
    """Returns everything that is known of a table.

    Args:
        folder: Of the table; see ``simulations.studies.cells``.
        real: The scores of real images, by seed, as the benchmark keeps them.
    """
    description = json.loads((folder / "protocol.json").read_text(encoding="utf-8"))
    entries = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*/entry.json")]
    known = sorted((Entry(**entry) for entry in entries), key=lambda entry: entry.rank)
    is_study = description.get("kind") == "study"
    if is_study:  # what is in its file is in its table, and nothing else
        known = [entry for entry in known if entry.label in description["labels"]]
    rows = [_row(folder, entry, _cells_of(description) if is_study else None) for entry in known]
    main = main_score(rows)
    central = next((row["final"][main]["mean"] for row in rows if _is_central(row) and main in row["final"]), None)
    for row in rows:
        if central and main in row["final"]:
            row[f"{main}-ratio"] = _rounded(row["final"][main]["mean"] / central)
    tested = _rounded(tests(rows, description)) if is_study else {}
    return {**description, "rows": rows, **tested, "real": _real(real) if real else None}


def _cells_of(description: Mapping[str, Any]) -> list[Key]:
    folds = range(1, description["folds"] + 1) if description["folds"] else (0,)
    return [(seed, fold) for seed in description["seeds"] for fold in folds]


def tests(rows: Sequence[dict[str, Any]], description: Mapping[str, Any]) -> dict[str, Any]:
    """Returns intervals of rows' means and paired tests between rows of a study; see ``comparisons``.

    Args:
        rows: As ``collect`` makes them.
        description: ``metrics``, ``against`` and ``folds`` of the study.

    Returns:
        ``intervals``, by metric and label, each two numbers or null; and ``differences``, see ``Difference``.
    """
    folds, against = description["folds"], description["against"]
    metrics = description["metrics"] or [main_score(rows)]
    intervals: dict[str, dict[str, Any]] = {}
    found: list[Difference] = []
    for metric in metrics:
        values = {row["label"]: _values(row, metric) for row in rows}
        intervals[metric] = {label: interval(list(those.values()), folds) for label, those in values.items()}
        pairs = [(label, against) for label in values if label != against] if against else combinations(values, 2)
        tested = [paired(metric, pair, values[pair[0]], values.get(pair[1], {}), folds) for pair in pairs]
        found += [one for one in tested if one is not None]
    corrected = holm([one.p for one in found])
    differences = [replace(one, p_corrected=p).record() for one, p in zip(found, corrected, strict=True)]
    return {"intervals": intervals, "differences": differences}


def _values(row: Mapping[str, Any], metric: str) -> dict[Key, float]:
    """Returns a score of a row's runs by seed and fold, where they have it."""
    found = {(run["seed"], run.get("fold", 0)): run["final"].get(metric) for run in row["runs"]}
    return {key: value for key, value in found.items() if value is not None}


def figures_of(run: RunDirectory, centralised: bool = False) -> dict[str, Any]:
    """Returns the figures of a finished run.

    Args:
        run: Its folder.
        centralised: Whether nothing would travel, as there is one client only.
    """
    summary = run.read_summary()
    lines, clients = journal.read(run.journal), run.read_config().federation.num_clients
    best_file = run.path / "best.json"
    best = json.loads(best_file.read_text(encoding="utf-8")) if best_file.exists() else None
    seconds = sum(sum(line["seconds"].values()) for line in lines) + summary["seconds"]["final-scores"]
    traffic = (
        {}
        if centralised
        else {
            "up-mb": sum(line["bytes-up"] for line in lines) / clients / 1e6,
            "down-mb": sum(line["bytes-down"] for line in lines) / clients / 1e6,
        }
    )
    final = flat_scores(summary["scores"])
    main = table.selecting_or_default({*final, *(name for line in lines for name in line["scores"])})
    scored = [line["scored-with"] for line in lines if "scored-with" in line]
    if centralised:
        final = {name: value for name, value in final.items() if name not in table.columns(of_clients=True)}
    found = {
        "final": final,
        "best": best
        and {"round": best["round"], "examples-seen": best["examples-seen"], **flat_scores(best["scores"])},
        "scored-with": {"final": summary.get("scored-with"), "between": scored[-1] if scored else None},
        "examples-seen": summary["examples-seen"],
        **traffic,
        "seconds": seconds,
        "rollbacks": summary["rollbacks"],
        "refused": sum(len(line["refused"]) for line in lines),
        "curve": [[line["examples-seen"], line["scores"][main]] for line in lines if main in line["scores"]],
        "weights-sha256": summary["weights-sha256"],
    }
    rounded: dict[str, Any] = _rounded(found)
    return rounded


def flat_scores(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Returns scores with those beside them that stand in tables only."""
    found = dict(scores)
    for metric in METRICS.values():
        found |= metric.derive(scores)
    return found


def spread(values: Iterable[float | None]) -> dict[str, float | int] | None:
    """Returns mean, sample standard deviation (0 of one value), least, greatest and number; None of no value."""
    found = [value for value in values if value is not None]
    if not found:
        return None
    deviation = statistics.stdev(found) if len(found) > 1 else 0.0
    return {"mean": statistics.fmean(found), "std": deviation, "min": min(found), "max": max(found), "n": len(found)}


def summary_of(runs: Sequence[Mapping[str, Any]], when: str) -> dict[str, Any]:
    """Returns the spread of every metric over a row's runs, of their ``final`` or ``best`` round."""
    rounds = [run[when] for run in runs if run.get(when)]
    more = ("round", "examples-seen") if when == "best" else table.columns(of_clients=True)  # of the last round only
    names = (*table.columns(of_clients=False), *more)
    found = {name: spread(scores.get(name) for scores in rounds) for name in names}
    return {name: value for name, value in found.items() if value}


def _row(folder: Path, entry: Entry, cells: Sequence[Key] | None) -> dict[str, Any]:
    """Returns a row, of the given cells; None: of those that are there."""
    runs: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    unfinished: list[int | str] = []
    machines: list[dict[str, Any]] = []
    there = {key: path for path in (folder / entry.slug).glob("seed-*") if (key := key_of(path.name))}
    for seed, fold in sorted(there) if cells is None else cells:
        path = there.get((seed, fold))
        which = {"seed": seed} | ({"fold": fold} if fold else {})
        if path is not None and (figures := _figures_in(path, entry)):
            noted = path / "machines.json"
            theirs = json.loads(noted.read_text(encoding="utf-8")) if noted.exists() else []
            made_on = {"processors": sorted({processor_of(machine) for machine in theirs})}
            runs.append({**which, **figures, **made_on})
            machines += theirs
        elif path is not None and (path / "failure.json").exists():
            failed.append({**which, **json.loads((path / "failure.json").read_text(encoding="utf-8"))})
        else:
            unfinished.append(f"{seed} (fold {fold})" if fold else seed)
    return {
        "label": entry.label,
        "kind": entry.kind,
        "overrides": dict(entry.overrides),
        "note": entry.note,
        "final": _rounded(summary_of(runs, "final")),
        "best": _rounded(summary_of(runs, "best")),
        "costs": _rounded({name: found for name in COSTS if (found := spread(run.get(name) for run in runs))}),
        "runs": runs,
        "failures": failed,
        "unfinished": unfinished,
        "machines": [m for k, m in enumerate(machines) if m not in machines[:k]],
    }


def _figures_in(path: Path, entry: Entry) -> dict[str, Any] | None:
    """Returns the figures of a run of a row, and what it took; None before it is finished."""
    if entry.kind == "alone":
        figures: dict[str, Any] | None = _rounded(alone.figures_in(path))
    else:
        run = RunDirectory(path)
        figures = figures_of(run, entry.kind == "centralised") if run.config.exists() and finished(run) else None
    costs = costs_in(path)
    if figures is not None and costs:
        figures |= _rounded({"cpu-seconds": costs["cpu-seconds"], "gpu-joules": costs["gpu-joules"]})
        figures |= {"gpu-unknown": costs["gpu"]} if costs["gpu"] else {}
    return figures


def _real(file: Path) -> dict[str, Any]:
    by_seed = json.loads(file.read_text(encoding="utf-8"))
    runs = [{"seed": int(seed), "final": flat_scores(found["scores"])} for seed, found in by_seed.items()]
    one = next(iter(by_seed.values()))
    return {
        "final": _rounded(summary_of(runs, "final")),
        "seeds": [run["seed"] for run in runs],
        "images": one["images"],
        **{key: one[key] for key in one if key.endswith("-images")},
        "extractor": one["extractor"],
    }


def _is_central(row: Mapping[str, Any]) -> bool:
    return bool(row["kind"] == "centralised")


def main_score(rows: Iterable[Mapping[str, Any]]) -> str:
    """Returns the score that rows are compared by."""
    return table.selecting_or_default({name for row in rows for name in row["final"]})


def _rounded(value: Any) -> Any:
    """Returns the value with floats to six significant digits, as nobody reads more of them."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list | tuple) else value


def processor_of(machine: Mapping[str, Any]) -> str:
    """Returns the processor, and the instructions that the last digits of weights hang on as well."""
    return f"{machine.get('processor') or UNKNOWN} (instructions: {machine.get('instructions') or UNKNOWN})"
