"""Tables of a benchmark as Markdown, from what ``collected_results`` has of its folder."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.examples import ImageSpec, TextSpec
from common.files import write_atomically
from common.machine import UNKNOWN
from common.metrics import Score, table
from common.models import MODELS
from server.records.scored_with import scored_with
from simulations.benchmark.collected_results import COSTS, Results, collect, main_score, processor_of

_DECIMALS = {"round": 0, "examples-seen": 0, "up-mb": 1, "down-mb": 1, "seconds": 0}
_HEADINGS = {"up-mb": "MB sent", "down-mb": "MB received"}


def markdown(results: Results) -> str:
    """Returns the table of the final round with its costs, that of the best round, and what went wrong.

    Scores that no row has are left out.
    """
    rows, main, real = results["rows"], main_score(results["rows"]), results["real"]
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
    if len(on := {processor_of(machine) for machine in found}) > 1:
        several += f" **The runs are of {len(on)} kinds of processor**: the same seed gives other weights on each."
    return f"Machine: {'; '.join(kinds)}; {when}; code {', '.join(codes)}.{several}"


def _machine(found: Mapping[str, Any]) -> str:
    gpu = f", {found['gpu']}" if found.get("gpu") else ""
    workers = found.get("workers", UNKNOWN)
    at_a_time = f"{workers} client{'' if workers == 1 else 's'} at a time"
    if found.get("engine") == "batched":
        at_a_time = "clients trained together"
    versions = f"Python {found.get('python', UNKNOWN)}, torch {found.get('torch', UNKNOWN)}"
    return f"{processor_of(found)}, {found.get('cores', UNKNOWN)} cores{gpu}, {at_a_time}, {versions}"


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
