"""Every key of the configuration in words: meaning, default, allowed values, and the components it picks from."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from common.component_tables import TABLES
from common.components import Component, Options, kebab
from common.config import RunConfig, Scalar
from common.setting_suggestions import meant

_TYPES = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "text"}
_BOUNDS = {
    "minimum": "{} or more",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
}
_SHORT = 3  # letters of words that begin many others
_EVERY_INTEGER = 2**53  # a bound from here on is the computer's, not the setting's


@dataclass(frozen=True)
class Option:
    """A key of the configuration, or an option of a component.

    Attributes:
        name: The dotted key, or the option's name.
        meaning: What it is for.
        default: Its value where none is given.
        allowed: In words, which values there are.
        schema: The same for programs: the part of a JSON Schema that says type, bounds and choices.
    """

    name: str
    meaning: str
    default: Scalar
    allowed: str
    schema: Mapping[str, Any]


@dataclass(frozen=True)
class Choice:
    """A component that a key may name."""

    name: str
    meaning: str
    source: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Setting(Option):
    """A key of the configuration, with the components that it picks from, if it picks any."""

    choices: tuple[Choice, ...] = ()


def settings() -> list[Setting]:
    """Returns every key of the configuration, in the order of its sections."""
    found: list[Setting] = []
    defaults, plain = RunConfig().flat(), dict[str, Mapping[str, Any]](RunConfig.model_json_schema()["properties"])
    for name, field in RunConfig.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Options):
            inside = section.model_json_schema()["properties"]
            found += [_setting(f"{name}.{key}", schema, defaults) for key, schema in inside.items()]
        else:
            found.append(_setting(kebab(name), plain[kebab(name)], defaults))
    return found


def search(word: str, known: Sequence[Setting]) -> list[Setting]:
    """Returns the settings that a word is about, those that bear its name first; none where it is nowhere.

    A word is looked for in keys, in words that other programs have for them (``epochs``), in components, in options and
    in meanings. A setting that is found by a component or an option alone comes with only those of its components.

    Args:
        word: Upper and lower case, ``-`` and ``_`` are the same.
        known: What to search, as ``settings`` returns it.
    """
    by_key = {setting.name: setting for setting in known}
    plain = word.lower().replace("_", "-")
    of_key = [by_key[key] for key in meant(word, by_key)]
    of_choice = [_with(setting, choices) for setting in known if (choices := _called(plain, setting.choices))]
    of_meaning = [
        setting for setting in known if _speaks(plain, setting.name, setting.meaning, *setting.schema.get("enum", ()))
    ]
    of_meaning += [_with(setting, choices) for setting in known if (choices := _speaking(plain, setting.choices))]
    found: dict[str, Setting] = {}
    for setting in of_key + of_choice + of_meaning:
        found.setdefault(setting.name, setting)
    return list(found.values())


def _with(setting: Setting, choices: Sequence[Choice]) -> Setting:
    return replace(setting, choices=tuple(choices))


def _called(word: str, choices: Sequence[Choice]) -> list[Choice]:
    """Returns the choices of this name, else those with an option of this name, and it alone."""
    return [one for one in choices if one.name == word] or _pruned(choices, lambda option: option.name == word)


def _speaking(word: str, choices: Sequence[Choice]) -> list[Choice]:
    """Returns the choices that speak of a word, else those with options that do, and these alone."""
    said = [one for one in choices if _speaks(word, one.name, one.meaning, one.source)]
    return said or _pruned(choices, lambda option: _speaks(word, option.name, option.meaning))


def _pruned(choices: Sequence[Choice], is_kept: Callable[[Option], bool]) -> list[Choice]:
    pruned = [replace(one, options=tuple(filter(is_kept, one.options))) for one in choices]
    return [one for one in pruned if one.options]


def _speaks(word: str, *texts: str) -> bool:
    """Returns whether a word stands in texts: at the start of one of theirs, and a short one as it is."""
    pattern = rf"\b{re.escape(word)}" + (r"\b" if len(word) <= _SHORT else "")
    return re.search(pattern, " ".join(texts).lower().replace("_", "-")) is not None


def _setting(key: str, schema: Mapping[str, Any], defaults: Mapping[str, Scalar]) -> Setting:
    choices = tuple(_choice(name, component) for name, component in TABLES.get(key, {}).items())
    allowed = f"one of {', '.join(one.name for one in choices)}" if choices else _in_words(schema)
    if choices and defaults[key] == "":
        allowed += "; several with | between; or nothing"
    return Setting(key, schema.get("description", ""), defaults[key], allowed, _of_values(schema), choices)


def _choice(name: str, component: type[Component]) -> Choice:
    properties = component.model_json_schema()["properties"] if component.model_fields else {}
    options = tuple(
        Option(key, schema.get("description", ""), schema.get("default", ""), _in_words(schema), _of_values(schema))
        for key, schema in properties.items()
    )
    return Choice(name, (component.__doc__ or "").strip().partition("\n")[0], component.source, options)


def _of_values(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {key: schema[key] for key in ("type", "enum", *_BOUNDS) if key in schema}


def _in_words(schema: Mapping[str, Any]) -> str:
    """Returns which values a JSON Schema allows."""
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    bounds = [
        words.format(f"{schema[key]:g}" if abs(schema[key]) < 1e6 else f"{schema[key]:,}")
        for key, words in _BOUNDS.items()
        if key in schema and abs(schema[key]) < _EVERY_INTEGER
    ]
    return ", ".join([_TYPES.get(schema.get("type", ""), "text"), *bounds])
