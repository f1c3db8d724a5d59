"""What stands in the files of a run directory, in one form: whoever reads a run need not know what else may be there.

A run directory outlives versions, disks and editors. What fits is kept, what does not is left out and named; so each
of the functions here returns what it could read, and a phrase for each thing that it could not. They take no path: the
caller knows the file.
"""

from collections.abc import Mapping
from typing import Any, cast

from common import renamed_settings
from common.examples import ExampleSpec, spec_from
from common.journal_lines import ClientLine, EventLine, JournalLine, RefusedLine, RoundLine
from common.metrics import table
from server.records.json_values import (
    MISSING,
    MOST_ROUNDS,
    Fits,
    bounded,
    dict_of,
    document,
    figures_of,
    fitting,
    is_count,
    is_counts,
    is_figure,
    is_figures,
    is_index,
    is_indices,
    is_plain,
    is_text,
    list_of,
    shown,
)

_LARGEST_SIDE = 2**16  # any number of a shape
_MOST_CLASSES = 100_000
_COUNT = "num-samples"


def journal_line(content: bytes) -> tuple[JournalLine, list[str]]:
    """Returns a line of a journal, with all keys that its kind has, and what in it does not fit.

    Raises:
        ValueError: It is none; says why.
    """
    line = document(content)
    if not isinstance(line, dict):
        raise ValueError("it is no JSON object")
    line = renamed_settings.renewed_record(line)
    if not is_count(line.get("round")) or line["round"] > MOST_ROUNDS:
        raise ValueError(f"round={shown(line.get('round'))}")
    problems: list[str] = []
    if "event" in line:
        fields: dict[str, tuple[Fits, Any]] = {"event": (is_text, "unknown"), "reason": (is_text, "")}
        line = fitting(line, fields, "", problems)
        if "refused" in line:
            line["refused"] = _refusals(line, problems)
        return cast(EventLine, bounded(line, problems)), problems
    counts: dict[str, tuple[Fits, Any]] = dict.fromkeys(("examples-seen", "bytes-down", "bytes-up"), (is_count, 0))
    line = fitting(line, counts, "", problems)
    line["seconds"] = figures_of(line, "seconds", problems)
    line["clients"] = _clients(line, problems)
    line["refused"] = _refusals(line, problems)
    line["scores"] = _scores(line, problems)
    if "scored-with" in line:
        line["scored-with"] = _scored_with(line, problems)
    if "privacy" in line and not is_figure(dict_of(line, "privacy", problems).get("epsilon")):
        problems.append(f"privacy={shown(line.pop('privacy'))}")
    return cast(RoundLine, bounded(line, problems)), problems


def _examples(found: Any) -> ExampleSpec:
    """Returns the specification of examples that a record describes, by whole positive numbers and by text.

    Raises:
        ValueError: It describes none; or a ``KeyError`` or ``TypeError``.
    """
    if not isinstance(found, dict):
        raise ValueError
    counts = [value for value in found.values() if not isinstance(value, str)]
    if (
        not all(is_count(count) and 0 < count <= _LARGEST_SIDE for count in counts)
        or found["num-classes"] > _MOST_CLASSES
    ):
        raise ValueError
    return spec_from(found)


def roster(found: Any) -> tuple[dict[str, Any], list[str]]:
    """Returns who holds what, as ``partition.json`` has it, and what in it does not fit; empty if it is no roster."""
    if not isinstance(found, dict) or "clients" not in found:
        return {}, ["it names no clients"]
    problems: list[str] = []
    kept = dict(found)
    if "shape" in found:
        shape = found["shape"]
        try:
            kept["shape"] = _examples(shape).record()
        except (ValueError, KeyError, TypeError):
            problems.append(f"shape={shown(shape)}")
            del kept["shape"]
    classes = kept.get("shape", {}).get("num-classes")
    kept["class-names"] = _class_names(found, classes, problems)
    kept["clients"] = []
    seen: set[int] = set()
    for index, client in enumerate(list_of(found, "clients", problems)):
        where = f"clients[{index}]"
        if not isinstance(client, dict) or not is_index(client.get("partition")) or client["partition"] in seen:
            problems.append(f"{where}={shown(client)}")
            continue
        seen.add(client["partition"])
        row = fitting(client, {"num-examples": (is_count, 0), "label-counts": (is_counts, None)}, where, problems)
        if row["label-counts"] is not None and classes is not None and len(row["label-counts"]) != classes:
            problems.append(f"{where}: {len(row['label-counts'])} label counts of {classes} classes")
            row["label-counts"] = None
        kept["clients"].append(row)
    return bounded(kept, problems), problems


def summary(found: Any) -> tuple[dict[str, Any], list[str]]:
    """Returns what ``summary.json`` says, and what in it does not fit; empty if it is no summary."""
    if not isinstance(found, dict):
        return {}, ["it is no JSON object"]
    problems = [] if "scores" in found else ["it tells no scores"]
    kept = {"scores": {}, **renamed_settings.renewed_record(found)}
    for key in ("rounds", "examples-seen", "rollbacks"):
        if key in kept and not is_count(kept[key]):
            problems.append(f"{key}={shown(kept.pop(key))}")
    if "rounds" not in found:
        problems.append(f"rounds{MISSING}")
    kept["scores"] = _scores(kept, problems)
    kept["class-names"] = _class_names(kept, None, problems)
    if "seconds" in kept:
        kept["seconds"] = figures_of(kept, "seconds", problems)
    if "scored-with" in kept:
        kept["scored-with"] = _scored_with(kept, problems)
    if "privacy" in kept and not _is_privacy(kept["privacy"]):
        problems.append(f"privacy={shown(kept.pop('privacy'))}")
    return bounded(kept, problems), problems


def _is_privacy(said: Any) -> bool:
    """Returns whether it is what ``PrivacyLedger.summary`` says."""
    if not isinstance(said, dict) or not isinstance(said.get("clients"), list):
        return False
    texts, figures = ("privacy", "unit", "neighbours", "mechanism"), ("epsilon", "delta", "budget")
    return (
        all(is_text(said.get(key)) for key in texts)
        and all(is_figure(said.get(key)) for key in figures)
        and all(
            isinstance(row, dict)
            and (row.get("partition") is None if said["unit"] == "client" else is_index(row.get("partition")))
            and is_count(row.get("releases"))
            and is_text(row.get("noise"))
            and all(is_figure(row.get(key)) for key in ("epsilon", "noise-multiplier", "rate"))
            for row in said["clients"]
        )
    )


def audit(found: Any) -> tuple[dict[str, Any], list[str]]:
    """Returns what ``audit.json`` says, and what in it does not fit; empty if it is no audit."""
    if not isinstance(found, dict):
        return {}, ["it is no JSON object"]
    problems: list[str] = []
    kept = fitting(found, {"round": (is_count, 0)}, "", problems)
    kept["scores"] = _scores(kept, problems)
    return bounded(kept, problems), problems


def with_audit(summary: Mapping[str, Any], audit: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a summary with the scores of an audit of the same networks, which may have been made after the run."""
    if not summary or audit.get("round") != summary.get("rounds"):
        return dict(summary)
    return {**summary, "scores": {**summary.get("scores", {}), **audit.get("scores", {})}}


def _clients(line: Mapping[str, Any], problems: list[str]) -> list[ClientLine]:
    kept: list[ClientLine] = []
    for index, client in enumerate(list_of(line, "clients", problems)):
        if (
            isinstance(client, dict)
            and is_index(client.get("partition"))
            and is_count(client.get("num-examples"))
            and is_text(client.get("site", ""))
            and all(is_figure(value) for key, value in client.items() if key != "site")
        ):
            kept.append(cast(ClientLine, client))
        else:
            problems.append(f"clients[{index}]={shown(client)}")
    return kept


def _refusals(line: Mapping[str, Any], problems: list[str]) -> list[RefusedLine]:
    kept: list[RefusedLine] = []
    for index, row in enumerate(list_of(line, "refused", problems)):
        if isinstance(row, dict) and is_index(row.get("partition")) and is_text(row.get("reason")):
            kept.append(cast(RefusedLine, row))
        else:
            problems.append(f"refused[{index}]={shown(row)}")
    return kept


def _scores(entries: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """Returns scores by name; of those that are known each has its own form, and of the rest any."""
    forms: dict[str, Fits] = {
        "figure": is_figure,
        "figures": is_figures,
        "number": is_index,
        "numbers": is_indices,
    }
    fits = {name: forms[score.form] for name, score in table.scores().items()}
    kept = {}
    for key, value in dict_of(entries, "scores", problems).items():
        if fits.get(key, is_plain)(value):
            kept[key] = float(value) if fits.get(key) is is_figure else value
        else:
            problems.append(f"scores.{key}={shown(value)}")
    return kept


def _scored_with(entries: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    counts = [_COUNT, *(key for key in dict_of(entries, "scored-with", []) if key.endswith(f"-{_COUNT}"))]
    fields: dict[str, tuple[Fits, Any]] = {"extractor": (lambda it: it is None or is_text(it), None)}
    fields |= dict.fromkeys(counts, (lambda it: it is None or is_count(it), None))
    return fitting(dict_of(entries, "scored-with", problems), fields, "scored-with", problems)


def _class_names(entries: Mapping[str, Any], classes: int | None, problems: list[str]) -> list[str]:
    """Returns the names of the classes; none where they are not entries, or are not those of all."""
    names = entries.get("class-names", [])
    fit = isinstance(names, list) and len(names) <= _MOST_CLASSES and all(isinstance(it, str | int) for it in names)
    if not fit or (names and classes is not None and len(names) != classes):
        problems.append(f"class-names={shown(names)}")
        return []
    return [str(name) for name in names]
