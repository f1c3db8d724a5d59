"""Values out of the records of a message, which may hold anything: what is not of its kind is a ``ProtocolError``."""

import math
from collections.abc import Mapping
from typing import TypeVar, cast

from flwr.app import RecordDict

from common.errors import ProtocolError

R = TypeVar("R")


def record(content: RecordDict, name: str, kind: type[R]) -> R:
    """Returns a record of a message."""
    found = content.get(name)
    if not isinstance(found, kind):
        raise ProtocolError(f"the message has no {kind.__name__} {name!r}; it holds {sorted(content)}")
    return found


def numbers(content: RecordDict, name: str, kind: type[R]) -> dict[str, float]:
    """Returns the finite numbers of a record of a message."""
    found: dict[str, float] = {}
    for key, value in cast(Mapping[str, object], record(content, name, kind)).items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ProtocolError(f"{key} in {name} is {value!r}, not a finite number")
        found[key] = float(value)
    return found


def integer(meta: Mapping[str, object], key: str) -> int:
    """Returns a whole number of a record."""
    value = meta.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ProtocolError(f"{key} is {value!r}, not a whole number")
    return value


def integers(meta: Mapping[str, object], key: str, length: int | None = None) -> list[int]:
    """Returns a list of whole numbers of a record, of ``length`` where that is given."""
    value = meta.get(key)
    if not isinstance(value, list) or not all(type(item) is int for item in value):
        raise ProtocolError(f"{key} is {value!r}, not a list of whole numbers")
    if length is not None and len(value) != length:
        raise ProtocolError(f"{key} has {len(value)} entries, not {length}")
    return value


def strings(meta: Mapping[str, object], key: str) -> list[str]:
    """Returns a list of strings of a record."""
    value = meta.get(key)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ProtocolError(f"{key} is {value!r}, not a list of strings")
    return value
