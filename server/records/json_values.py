"""Values of JSON files that anybody may have written, each checked for what it is expected to be.

What does not fit is named in a list of problems, a phrase each, and replaced.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

Fits = Callable[[Any], bool]
"""Whether a value is what is expected."""

MOST_ROUNDS = 10**9
MISSING = " is missing"

_LARGEST = 2**63
_DEEPEST = 20
_LONGEST_SHOWN = 60


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


def wrong(problems: list[str]) -> list[str]:
    """Returns the problems that are more than a key that is not there, as in a file of an earlier version."""
    return [problem for problem in problems if not problem.endswith(MISSING)]


def fitting(
    entries: Mapping[str, Any], fields: Mapping[str, tuple[Fits, Any]], where: str, problems: list[str]
) -> dict[str, Any]:
    """Returns an object in which each of the fields fits, or has its value for where it is not known."""
    kept = dict(entries)
    for key, (fits, unknown) in fields.items():
        if key not in entries:
            problems.append(f"{where}{'.' if where else ''}{key}{MISSING}")
            kept[key] = unknown
        elif not fits(entries[key]):
            problems.append(f"{where}{'.' if where else ''}{key}={shown(entries[key])}")
            kept[key] = unknown
    return kept


def figures_of(entries: Mapping[str, Any], key: str, problems: list[str]) -> dict[str, float]:
    """Returns the figures of an object within another one, by name."""
    kept = {}
    for name, value in dict_of(entries, key, problems).items():
        if is_figure(value):
            kept[name] = value
        else:
            problems.append(f"{key}.{name}={shown(value)}")
    return kept


def list_of(entries: Mapping[str, Any], key: str, problems: list[str]) -> list[Any]:
    """Returns a list of an object; empty where it has none."""
    found: list[Any] = _of_kind(entries, key, list, problems)
    return found


def dict_of(entries: Mapping[str, Any], key: str, problems: list[str]) -> dict[str, Any]:
    """Returns an object within another one; empty where it has none."""
    found: dict[str, Any] = _of_kind(entries, key, dict, problems)
    return found


def _of_kind(entries: Mapping[str, Any], key: str, kind: type, problems: list[str]) -> Any:
    if isinstance(entries.get(key), kind):
        return entries[key]
    problems.append(f"{key}={shown(entries[key])}" if key in entries else f"{key}{MISSING}")
    return kind()


def bounded(entries: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Returns an object without the keys of other versions whose values are nested too deeply to be shown."""
    kept = {key: value for key, value in entries.items() if not isinstance(value, dict | list) or is_plain(value)}
    problems += [f"{key} is nested too deeply" for key in entries.keys() - kept.keys()]
    return kept


def shown(value: Any) -> str:
    """Returns a value as a problem names it: as JSON, cut where it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (RecursionError, ValueError):
        text = "..."
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]} ..."


def _clean(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return writable(value)
    if isinstance(value, dict | list) and depth > 2 * _DEEPEST:
        raise ValueError("it is nested too deeply")
    if isinstance(value, dict):
        return {writable(key): _clean(inner, depth + 1) for key, inner in value.items()}
    return [_clean(inner, depth + 1) for inner in value] if isinstance(value, list) else value


def is_plain(value: Any, depth: int = 0) -> bool:
    """Whether a value is nested no deeper than what can be shown."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return depth < _DEEPEST and all(is_plain(it, depth + 1) for it in inner if isinstance(it, dict | list))
    return True


def is_text(value: Any) -> bool:
    """Whether a value is a string."""
    return isinstance(value, str)


def is_count(value: Any) -> bool:
    """Whether a value is a whole number from 0."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST


def is_index(value: Any) -> bool:
    """Whether a value is the number of a round, client or class."""
    return is_count(value) and value < MOST_ROUNDS


def is_figure(value: Any) -> bool:
    """Whether a value is a number."""
    return isinstance(value, float) or (
        isinstance(value, int) and not isinstance(value, bool) and -_LARGEST < value < _LARGEST
    )


def is_figures(value: Any) -> bool:
    """Whether a value is a list of numbers, null where there is none."""
    return isinstance(value, list) and all(it is None or is_figure(it) for it in value)


def is_indices(value: Any) -> bool:
    """Whether a value is a list of numbers of rounds, clients or classes."""
    return isinstance(value, list) and all(map(is_index, value))


def is_counts(value: Any) -> bool:
    """Whether a value is a list of whole numbers from 0, or null."""
    return value is None or (isinstance(value, list) and all(map(is_count, value)))
