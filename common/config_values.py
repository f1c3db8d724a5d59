"""Values of a configuration by dotted keys: how nested tables become such, and what a value may be."""

import re
import sys
from collections.abc import Mapping
from typing import Any

from common.errors import ConfigError


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested tables as dotted keys; ``RunConfig.from_flat`` checks the values.

    Raises:
        ConfigError: They are nested much deeper than any key is.
    """
    if prefix.count(".") > _DEEPEST:
        raise ConfigError(f"{prefix[:40]}...: no such key: its tables are nested too deeply")
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def fault(value: object, expected: type) -> str | None:
    """Returns why a value cannot be one of the expected type; None if it may be."""
    if not isinstance(value, bool | int | float | str):
        return "expected a number, a string, true or false"
    kinds = {bool: bool, int: int, float: int | float, str: str}
    if not isinstance(value, kinds[expected]) or isinstance(value, bool) != (expected is bool):
        plain = value.strip().lower() if isinstance(value, str) else ""
        return f"expected {_NAMES[expected]}" + (f": {plain}, without quotes" if _READABLE.fullmatch(plain) else "")
    if isinstance(value, str):
        return _fault_of_text(value)
    return None


def _fault_of_text(text: str) -> str | None:
    """Returns why a text cannot be written to a configuration file, and read back."""
    if "\0" in text:
        return "it has a NUL character"
    if any("\ud800" <= letter <= "\udfff" for letter in text):  # how Python hands on bytes that it cannot read
        return (
            f"it has bytes that are no text in this environment's encoding ({sys.getfilesystemencoding()}): give "
            "another name, or set a UTF-8 locale (LC_ALL=C.UTF-8)"
        )
    return None


_READABLE = re.compile(r"true|false|[+-]?\d+(\.\d+)?(e[+-]?\d+)?")
_DEEPEST = 20
_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
