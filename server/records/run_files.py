"""What stands in the files of a run directory, in one form: whoever reads a run need not know what else may be there.

A run directory outlives versions, disks and editors. What fits is kept, what does not is left out and named; so each
of the functions here returns what it could read, and a phrase for each thing that it could not. They take no path: the
caller knows the file.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, cast

from common import renamed_settings
from common.examples import ExampleSpec, spec_from
from common.journal_lines import ClientLine, EventLine, JournalLine, RefusedLine, RoundLine
from common.metrics import table

Fits = Callable[[Any], bool]

_LARGEST = 2**63
_MOST_ROUNDS = 10**9
_LARGEST_SIDE = 2**16  # any number of a shape
_MOST_CLASSES = 100_000
_DEEPEST = 20
_LONGEST_SHOWN = 60
_MISSING = " is missing"
_COUNT = "num-samples"


def writable(text: str) -> str:
    r"""Returns text that can be written as UTF-8: bytes that are none, as in a folder's name, become ``\xe9``."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a pair, which no file name holds
        return text.encode("utf-8", "backslashreplace").decode()


def document(content: bytes) -> Any:
    """Returns what JSON says, its texts such as can be written.

    Raises:
        ValueError: It is no JSON, or is nested deeper than any file of a run; says so in words.
    """
    text = content.decode("utf-8-sig", "replace")
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        what = "empty" if not text.strip() else "full of zero bytes" if not text.strip("\0") else f"no JSON: {error}"
        raise ValueError(f"it is {what}") from None
    return _clean(found) if "\\u" in text else found


def journal_line(content: bytes) -> tuple[JournalLine, list[str]]:
    """Returns a line of a journal, with all keys that its kind has, and what in it does not fit.

    Raises:
        ValueError: It is none; says why.
    """
    line = document(content)
    if not isinstance(line, dict):
        raise ValueError("it is no JSON object")
    line = renamed_settings.renewed_record(line)
    if not _is_count(line.get("round")) or line["round"] > _MOST_ROUNDS:
        raise ValueError(f"round={_shown(line.get('round'))}")
    problems: list[str] = []
    if "event" in line:
        fields: dict[str, tuple[Fits, Any]] = {"event": (_is_text, "unknown"), "reason": (_is_text, "")}
        line = _fitting(line, fields, "", problems)
        if "refused" in line:
            line["refused"] = _refusals(line, problems)
        return cast(EventLine, _bounded(line, problems)), problems
    counts: dict[str, tuple[Fits, Any]] = dict.fromkeys(("examples-seen", "bytes-down", "bytes-up"), (_is_count, 0))
    line = _fitting(line, counts, "", problems)
    line["seconds"] = _figures(line, "seconds", problems)
    line["clients"] = _clients(line, problems)
    line["refused"] = _refusals(line, problems)
    line["scores"] = _scores(line, problems)
    if "scored-with" in line:
        line["scored-with"] = _scored_with(line, problems)
    return cast(RoundLine, _bounded(line, problems)), problems


def wrong(problems: list[str]) -> list[str]:
    """Returns the problems that are more than a key that is not there, as in a file of an earlier version."""
    return [problem for problem in problems if not problem.endswith(_MISSING)]


def _examples(found: Any) -> ExampleSpec:
    """Returns the specification of examples that a record describes, by whole positive numbers and by text.

    Raises:
        ValueError: It describes none; or a ``KeyError`` or ``TypeError``.
    """
    if not isinstance(found, dict):
        raise ValueError
    counts = [value for value in found.values() if not isinstance(value, str)]
    if (
        not all(_is_count(count) and 0 < count <= _LARGEST_SIDE for count in counts)
        or found["num-classes"] > _MOST_CLASSES
    ):
        raise ValueError
    return spec_from(found)


def roster(found: Any) -> tuple[dict[str, Any], list[str]]:
    """Returns who holds what, as ``partition.json`` has it, and what in it does not fit; empty if it is no roster."""
    if not isinstance(found, dict) or "clients" not in found:
        return {}, ["it names no clients"]
    problems: list[str] = []
    told = dict(found)
    if "shape" in found:
        shape = found["shape"]
        try:
            told["shape"] = _examples(shape).record()
        except (ValueError, KeyError, TypeError):
            problems.append(f"shape={_shown(shape)}")
            del told["shape"]
    classes = told.get("shape", {}).get("num-classes")
    told["class-names"] = _class_names(found, classes, problems)
    told["clients"] = []
    seen: set[int] = set()
    for index, client in enumerate(_list(found, "clients", problems)):
        where = f"clients[{index}]"
        if not isinstance(client, dict) or not _is_index(client.get("partition")) or client["partition"] in seen:
            problems.append(f"{where}={_shown(client)}")
            continue
        seen.add(client["partition"])
        row = _fitting(client, {"num-examples": (_is_count, 0), "label-counts": (_is_counts, None)}, where, problems)
        if row["label-counts"] is not None and classes is not None and len(row["label-counts"]) != classes:
            problems.append(f"{where}: {len(row['label-counts'])} label counts of {classes} classes")
            row["label-counts"] = None
        told["clients"].append(row)
    return _bounded(told, problems), problems


def summary(found: Any) -> tuple[dict[str, Any], list[str]]:
    """Returns what ``summary.json`` says, and what in it does not fit; empty if it is no summary."""
    if not isinstance(found, dict):
        return {}, ["it is no JSON object"]
    problems = [] if "scores" in found else ["it tells no scores"]
    told = {"scores": {}, **renamed_settings.renewed_record(found)}
    for key in ("rounds", "examples-seen", "rollbacks"):
        if key in told and not _is_count(told[key]):
            problems.append(f"{key}={_shown(told.pop(key))}")
    if "rounds" not in found:
        problems.append(f"rounds{_MISSING}")
    told["scores"] = _scores(told, problems)
    told["class-names"] = _class_names(told, None, problems)
    if "seconds" in told:
        told["seconds"] = _figures(told, "seconds", problems)
    if "scored-with" in told:
        told["scored-with"] = _scored_with(told, problems)
    return _bounded(told, problems), problems


def _clients(line: Mapping[str, Any], problems: list[str]) -> list[ClientLine]:
    kept: list[ClientLine] = []
    for index, client in enumerate(_list(line, "clients", problems)):
        if (
            isinstance(client, dict)
            and _is_index(client.get("partition"))
            and _is_count(client.get("num-examples"))
            and _is_text(client.get("site", ""))
            and all(_is_figure(value) for key, value in client.items() if key != "site")
        ):
            kept.append(cast(ClientLine, client))
        else:
            problems.append(f"clients[{index}]={_shown(client)}")
    return kept


def _refusals(line: Mapping[str, Any], problems: list[str]) -> list[RefusedLine]:
    kept: list[RefusedLine] = []
    for index, row in enumerate(_list(line, "refused", problems)):
        if isinstance(row, dict) and _is_index(row.get("partition")) and _is_text(row.get("reason")):
            kept.append(cast(RefusedLine, row))
        else:
            problems.append(f"refused[{index}]={_shown(row)}")
    return kept


def _scores(told: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """Returns scores by name; of those that are known each has its own form, and of the rest any."""
    forms: dict[str, Fits] = {
        "figure": _is_figure,
        "figures": _is_figures,
        "number": _is_index,
        "numbers": _is_indices,
    }
    fits = {name: forms[score.form] for name, score in table.scores().items()}
    kept = {}
    for key, value in _dict(told, "scores", problems).items():
        if fits.get(key, _is_plain)(value):
            kept[key] = float(value) if fits.get(key) is _is_figure else value
        else:
            problems.append(f"scores.{key}={_shown(value)}")
    return kept


def _scored_with(told: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    counts = [_COUNT, *(key for key in _dict(told, "scored-with", []) if key.endswith(f"-{_COUNT}"))]
    fields: dict[str, tuple[Fits, Any]] = {"extractor": (lambda it: it is None or _is_text(it), None)}
    fields |= dict.fromkeys(counts, (lambda it: it is None or _is_count(it), None))
    return _fitting(_dict(told, "scored-with", problems), fields, "scored-with", problems)


def _class_names(told: Mapping[str, Any], classes: int | None, problems: list[str]) -> list[str]:
    """Returns the names of the classes; none where they are not told, or are not those of all."""
    names = told.get("class-names", [])
    fit = isinstance(names, list) and len(names) <= _MOST_CLASSES and all(isinstance(it, str | int) for it in names)
    if not fit or (names and classes is not None and len(names) != classes):
        problems.append(f"class-names={_shown(names)}")
        return []
    return [str(name) for name in names]


def _figures(told: Mapping[str, Any], key: str, problems: list[str]) -> dict[str, float]:
    kept = {}
    for name, value in _dict(told, key, problems).items():
        if _is_figure(value):
            kept[name] = value
        else:
            problems.append(f"{key}.{name}={_shown(value)}")
    return kept


def _fitting(
    told: Mapping[str, Any], fields: Mapping[str, tuple[Fits, Any]], where: str, problems: list[str]
) -> dict[str, Any]:
    """Returns an object in which each of the fields fits, or has its value for where it is not known."""
    kept = dict(told)
    for key, (fits, unknown) in fields.items():
        if key not in told:
            problems.append(f"{where}{'.' if where else ''}{key}{_MISSING}")
            kept[key] = unknown
        elif not fits(told[key]):
            problems.append(f"{where}{'.' if where else ''}{key}={_shown(told[key])}")
            kept[key] = unknown
    return kept


def _list(told: Mapping[str, Any], key: str, problems: list[str]) -> list[Any]:
    found: list[Any] = _of_kind(told, key, list, problems)
    return found


def _dict(told: Mapping[str, Any], key: str, problems: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = _of_kind(told, key, dict, problems)
    return found


def _of_kind(told: Mapping[str, Any], key: str, kind: type, problems: list[str]) -> Any:
    if isinstance(told.get(key), kind):
        return told[key]
    problems.append(f"{key}={_shown(told[key])}" if key in told else f"{key}{_MISSING}")
    return kind()


def _bounded(told: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Returns an object without the keys of other versions whose values are nested too deeply to be shown."""
    kept = {key: value for key, value in told.items() if not isinstance(value, dict | list) or _is_plain(value)}
    problems += [f"{key} is nested too deeply" for key in told.keys() - kept.keys()]
    return kept


def _clean(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return writable(value)
    if isinstance(value, dict | list) and depth > 2 * _DEEPEST:
        raise ValueError("it is nested too deeply")
    if isinstance(value, dict):
        return {writable(key): _clean(inner, depth + 1) for key, inner in value.items()}
    return [_clean(inner, depth + 1) for inner in value] if isinstance(value, list) else value


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (RecursionError, ValueError):
        text = "..."
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]} ..."


def _is_plain(value: Any, depth: int = 0) -> bool:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return depth < _DEEPEST and all(_is_plain(it, depth + 1) for it in inner if isinstance(it, dict | list))
    return True


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST


def _is_index(value: Any) -> bool:
    return _is_count(value) and value < _MOST_ROUNDS


def _is_figure(value: Any) -> bool:
    return isinstance(value, float) or (
        isinstance(value, int) and not isinstance(value, bool) and -_LARGEST < value < _LARGEST
    )


def _is_figures(value: Any) -> bool:
    return isinstance(value, list) and all(it is None or _is_figure(it) for it in value)


def _is_indices(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_index, value))


def _is_counts(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(map(_is_count, value)))
