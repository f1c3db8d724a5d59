"""Tables of a benchmark: figures of each run from its folder alone, their mean and spread over seeds, as Markdown.

``collect`` makes one JSON object of a table's folder; all that is shown, the page and the figures too, is made of it.
"""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.examples import ImageSpec, TextSpec
from common.files import write_atomically
from common.machine import UNKNOWN
from common.metrics import METRICS, Score, table
from common.models import MODELS
from server.records import journal
from server.records.run_directory import RunDirectory
from server.records.scored_with import scored_with
from simulations.benchmark import alone
from simulations.benchmark.protocols import Entry
from simulations.benchmark.runner import finished

Results = dict[str, Any]

COSTS = ("examples-seen", "up-mb", "down-mb", "seconds")
_DECIMALS = {"round": 0, "examples-seen": 0, "up-mb": 1, "down-mb": 1, "seconds": 0}
_HEADINGS = {"up-mb": "MB sent", "down-mb": "MB received"}


def collect(folder: Path, real: Path | None = None) -> Results:
    """Returns everything that is known of a table.

    Args:
        folder: Of the table; see ``simulations.benchmark``.
        real: The scores of real images; see ``simulations.benchmark.real_baseline``.
    """
    description = json.loads((folder / "protocol.json").read_text(encoding="utf-8"))
    entries = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*/entry.json")]
    known = sorted((Entry(**entry) for entry in entries), key=lambda entry: entry.rank)
    rows = [_row(folder, entry) for entry in known]
    main = _main(rows)
    central = next((row["final"][main]["mean"] for row in rows if _is_central(row) and main in row["final"]), None)
    for row in rows:
        if central and main in row["final"]:
            row[f"{main}-ratio"] = _rounded(row["final"][main]["mean"] / central)
    return {**description, "rows": rows, "real": _real(real) if real else None}


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


def markdown(results: Results) -> str:
    """Returns the table of the final round with its costs, that of the best round, and what went wrong.

    Scores that no row has are left out.
    """
    rows, main, real = results["rows"], _main(results["rows"]), results["real"]
    known = {name for row in (*rows, *([real] if real else [])) for name in (*row["final"], *(row.get("best") or ()))}
    scores, of_clients = ([name for name in table.columns(of_clients=side) if name in known] for side in (False, True))
    last = (*scores, *of_clients)
    final = [
        [row["label"], _ratio(row, main), *_cells(row["final"], last), *_cells(row["costs"], COSTS), _seeds(row)]
        for row in rows
    ]
    best = [[row["label"], *_cells(row["best"], ("round", *scores))] for row in rows if row["best"]]
    if real:
        costs = ["" for _ in COSTS]
        final.append([f"*real {noun_of(results)}*", "", *_cells(real["final"], last), *costs, str(len(real["seeds"]))])
    parts = [
        f"Last round{_made_with(rows, 'final')}:",
        "",
        _grid(["", f"{main} / centralised", *map(_heading, last), *map(_heading, COSTS), "seeds"], final),
        "",
        f"Best round (lowest {main} on the {noun_of(results)} of a score between rounds{_made_with(rows, 'between')}):",
        "",
        _grid(["", "round", *map(_heading, scores)], best) if best else "None is known.",
        "",
    ]
    if remarks := list(_remarks(rows)):
        parts += [*(f"- {remark}" for remark in remarks), ""]
    return "\n".join(parts)


def noun_of(results: Results) -> str:
    """Returns what the models of a table make, in the plural: ``images``, or ``texts``."""
    model = results.get("config", {}).get("model", "").partition(" ")[0]
    kind = MODELS[model].kind if model in MODELS else ImageSpec.kind
    return "texts" if kind == TextSpec.kind else kind


def machines_of(results: Results) -> str:
    """Returns on which machines the runs of a table were made, when, and by which code; ``unknown`` where none says."""
    found = [machine for row in results["rows"] for machine in row.get("machines", ())]
    if not found:
        return f"Machine: {UNKNOWN}."
    kinds = sorted({_machine(machine) for machine in found})
    dates, codes = (sorted({machine.get(key) or UNKNOWN for machine in found}) for key in ("date", "code"))
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    several = f" **The runs are of {len(codes)} versions of the code.**" if len(codes) > 1 else ""
    if len(on := {_on(machine) for machine in found}) > 1:
        several += f" **The runs are of {len(on)} kinds of processor**: the same seed gives other weights on each."
    return f"Machine: {'; '.join(kinds)}; {when}; code {', '.join(codes)}.{several}"


def _machine(found: Mapping[str, Any]) -> str:
    gpu = f", {found['gpu']}" if found.get("gpu") else ""
    workers = found.get("workers", UNKNOWN)
    at_a_time = f"{workers} client{'' if workers == 1 else 's'} at a time"
    if found.get("engine") == "batched":
        at_a_time = "clients trained together"
    versions = f"Python {found.get('python', UNKNOWN)}, torch {found.get('torch', UNKNOWN)}"
    return f"{_on(found)}, {found.get('cores', UNKNOWN)} cores{gpu}, {at_a_time}, {versions}"


def _on(machine: Mapping[str, Any]) -> str:
    """Returns the processor, and the instructions that the last digits of weights hang on as well."""
    return f"{machine.get('processor') or UNKNOWN} (instructions: {machine.get('instructions') or UNKNOWN})"


def write_table(folder: Path, real: Path | None = None) -> Results:
    """Writes ``results.json`` and ``table.md`` of a table's folder, and returns what is in them."""
    results = collect(folder, real)
    write_atomically(folder / "results.json", json.dumps(results).encode())
    heading = f"# {results['protocol']}, {results['budget']} budget: {results['title']}\n\n"
    write_atomically(folder / "table.md", f"{heading}{machines_of(results)}\n\n{markdown(results)}".encode())
    return results


def _made_with(rows: Iterable[Mapping[str, Any]], when: str) -> str:
    """Returns the extractors and numbers of images of scores, in words; nothing where no run tells them."""
    made_with = [run.get("scored-with", {}).get(when) for row in rows for run in row["runs"]]
    kinds = dict.fromkeys(scored_with(one) for one in made_with if one)
    return f" ({'; '.join(kinds)})" if kinds else ""


def _row(folder: Path, entry: Entry) -> dict[str, Any]:
    runs: list[dict[str, Any]] = []
    failed, unfinished = [], []
    machines: list[dict[str, Any]] = []
    for path in sorted((folder / entry.slug).glob("seed-*"), key=lambda path: int(path.name[5:])):
        seed, failure = int(path.name[5:]), path / "failure.json"
        if figures := _figures_in(path, entry):
            noted = path / "machines.json"
            theirs = json.loads(noted.read_text(encoding="utf-8")) if noted.exists() else []
            made_on = {"processors": sorted({_on(machine) for machine in theirs})}
            runs.append({"seed": seed, **figures, **made_on})
            machines += theirs
        elif failure.exists():
            failed.append({"seed": seed, **json.loads(failure.read_text(encoding="utf-8"))})
        else:
            unfinished.append(seed)
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
    """Returns the figures of a run of a row; None before it is finished."""
    if entry.kind == "alone":
        figures: dict[str, Any] | None = _rounded(alone.figures_in(path))
        return figures
    run = RunDirectory(path)
    return figures_of(run, entry.kind == "centralised") if run.config.exists() and finished(run) else None


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


def _remarks(rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    for row in rows:
        if row["note"]:
            yield f"`{row['label']}`: {row['note']}."
    for row in rows:
        for failure in row["failures"]:
            yield f"`{row['label']}`, seed {failure['seed']}, **failed**: {failure['reason']}"
        if row["unfinished"]:
            yield f"`{row['label']}`: not finished: seed {', '.join(map(str, row['unfinished']))}."
        if back := [run["seed"] for run in row["runs"] if run["rollbacks"]]:
            yield f"`{row['label']}`: went back to an earlier round at least once: seed {', '.join(map(str, back))}."


def _is_central(row: Mapping[str, Any]) -> bool:
    return bool(row["kind"] == "centralised")


def _main(rows: Iterable[Mapping[str, Any]]) -> str:
    """Returns the score that rows are compared by."""
    return table.selecting_or_default({name for row in rows for name in row["final"]})


def _ratio(row: Mapping[str, Any], main: str) -> str:
    ratio = row.get(f"{main}-ratio")
    return "–" if ratio is None else f"{ratio:.2f}"


def _cells(found: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    scores = _columns()
    decimals = _DECIMALS | {name: score.decimals for name, score in scores.items()}
    return [_cell(found.get(name), decimals[name]) for name in names]


def _columns() -> dict[str, Score]:
    return table.columns(of_clients=False) | table.columns(of_clients=True)


def _cell(found: Mapping[str, Any] | None, decimals: int) -> str:
    if not found:
        return "–"
    if found["mean"] >= 100 and decimals < 3:
        decimals = 0
    shown = f"{found['mean']:,.{decimals}f}"
    return shown if found["std"] == 0 else f"{shown} ± {found['std']:.{decimals}f}"


def _seeds(row: Mapping[str, Any]) -> str:
    done, all_of_them = len(row["runs"]), len(row["runs"]) + len(row["failures"]) + len(row["unfinished"])
    failed = f", {len(row['failures'])} failed" if row["failures"] else ""
    return (str(done) if done == all_of_them else f"{done} of {all_of_them}") + failed


def _heading(name: str) -> str:
    headings = _HEADINGS | {key: score.heading for key, score in _columns().items() if score.heading}
    return headings.get(name, name.replace("-", " "))


def _grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)])


def _rounded(value: Any) -> Any:
    """Returns the value with floats to six significant digits, as nobody reads more of them."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list) else value
