"""Fields of messages, read out of records that may hold anything: what is not of its kind is a ``ProtocolError``."""

import json
import math
from collections.abc import Mapping
from typing import TypeVar, cast

from flwr.app import ConfigRecord, RecordDict

from common.errors import ProtocolError
from common.examples import ExampleSpec, spec_from

PROTOCOL = 7
"""The version of all messages. A change of keys or of their meaning raises it."""

META, ARRAYS = "meta", "arrays"
"""Names of the records that messages are made of."""

LONGEST_NAME = 64
"""Characters of the longest name that is taken from a client."""

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


def meta_of(content: RecordDict) -> ConfigRecord:
    """Returns the fields of a message.

    Raises:
        ProtocolError: It has none, or is of another version.
    """
    meta = record(content, META, ConfigRecord)
    if (version := integer(meta, "protocol")) != PROTOCOL:
        raise ProtocolError(f"the peer speaks protocol {version}, this side {PROTOCOL}: run the same fedgan on both")
    return meta


def spec_fields(spec: ExampleSpec | None) -> dict[str, str]:
    """Returns the fields that say what examples are like; none where nothing is to be said of them."""
    return {} if spec is None else {"examples": json.dumps(spec.record())}


def spec_of(meta: ConfigRecord) -> ExampleSpec | None:
    """Returns the specification of examples that a message has; None: it has none.

    Raises:
        ProtocolError: It describes none.
    """
    if "examples" not in meta:
        return None
    try:
        return spec_from(json.loads(str(meta["examples"])))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ProtocolError(f"examples is {str(meta['examples'])[:80]!r}, no description of examples") from None
