"""Tables of runs as Markdown, from what ``collected_results`` has of its folder."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from common.examples import ImageSpec, TextSpec
from common.machine import UNKNOWN
from common.metrics import Score, table
from common.models import MODELS
from server.records.scored_with import scored_with
from simulations.studies.cells import in_words_of
from simulations.studies.collected_results import COSTS, Results, main_score, processor_of

_DECIMALS = {"round": 0, "examples-seen": 0, "up-mb": 1, "down-mb": 1, "seconds": 0, "cpu-seconds": 0, "gpu-joules": 0}
_HEADINGS = {"up-mb": "MB sent", "down-mb": "MB received", "cpu-seconds": "CPU seconds", "gpu-joules": "GPU joules"}
_IF_KNOWN = ("cpu-seconds", "gpu-joules")  # which earlier versions did not measure


def markdown(results: Results) -> str:
    """Returns the table of the final round with its costs, that of the best round, and what went wrong.

    Scores that no row has are left out.
    """
    rows, main, real = results["rows"], main_score(results["rows"]), results["real"]
    known = {name for row in (*rows, *([real] if real else [])) for name in (*row["final"], *(row.get("best") or ()))}
    scores, of_clients = ([name for name in table.columns(of_clients=side) if name in known] for side in (False, True))
    last, costs = (*scores, *of_clients), _costs(rows)
    is_study = "intervals" in results  # which has tests in the place of a ratio
    final = [
        [
            row["label"],
            *([] if is_study else [_ratio(row, main)]),
            *_cells(row["final"], last),
            *_cells(row["costs"], costs),
            _seeds(row),
        ]
        for row in rows
    ]
    best = [[row["label"], *_cells(row["best"], ("round", *scores))] for row in rows if row["best"]]
    if real:
        none = ["" for _ in costs]
        final.append([f"*real {noun_of(results)}*", "", *_cells(real["final"], last), *none, str(len(real["seeds"]))])
    parts = [
        f"Last round{_made_with(rows, 'final')}:",
        "",
        grid(
            [
                "",
                *([] if is_study else [f"{main} / centralised"]),
                *map(heading, last),
                *map(heading, costs),
                "cells" if results.get("folds") else "seeds",
            ],
            final,
        ),
        "",
        f"Best round (lowest {main} on the {noun_of(results)} of a score between rounds{_made_with(rows, 'between')}):",
        "",
        grid(["", "round", *map(heading, scores)], best) if best else "None is known.",
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
    cores, workers = (found.get(key, UNKNOWN) for key in ("cores", "workers"))
    at_a_time = f"{workers} client{'' if workers == 1 else 's'} at a time"
    if found.get("engine") == "batched":
        at_a_time = "clients trained together"
    versions = f"Python {found.get('python', UNKNOWN)}, torch {found.get('torch', UNKNOWN)}"
    return f"{processor_of(found)}, {cores} core{'' if cores == 1 else 's'}{gpu}, {at_a_time}, {versions}"


def _costs(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the columns of costs: those that older tables lack only where something is known, and not nothing."""
    known = {name for row in rows for name, found in row["costs"].items() if found["max"] > 0}
    return [name for name in COSTS if name in known or name not in _IF_KNOWN]


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
            which = in_words_of((failure["seed"], failure.get("fold", 0)))
            yield f"`{row['label']}`, {which}, **failed**: {failure['reason']}"
        if row["unfinished"]:
            yield f"`{row['label']}`: not finished: seed {', '.join(map(str, row['unfinished']))}."
        if back := [_which(run) for run in row["runs"] if run["rollbacks"]]:
            yield f"`{row['label']}`: went back to an earlier round at least once: seed {', '.join(back)}."
    if unknown := sorted({run["gpu-unknown"] for row in rows for run in row["runs"] if "gpu-unknown" in run}):
        yield f"What the GPU drew is not known of every cell: {'; '.join(unknown)}."


def _which(run: Mapping[str, Any]) -> str:
    return f"{run['seed']}" + (f" (fold {run['fold']})" if "fold" in run else "")


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


def heading(name: str) -> str:
    """Returns what stands above a column."""
    headings = _HEADINGS | {key: score.heading for key, score in _columns().items() if score.heading}
    return headings.get(name, name.replace("-", " "))


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table as Markdown."""
    return "\n".join(["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)])
