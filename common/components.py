"""Components: the parts of a run that a user picks by name, each with options of its own.

A component is one class in one file: a frozen pydantic model whose fields are its options, and whose methods are what
it does. In the configuration it is one string, ``"NAME option=value ..."``, because Flower's run configuration holds
only scalars. A folder's ``__init__.py`` lists its components in a table, ``{name: class}``.
"""

import difflib
import shlex
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from common.errors import ConfigError

CHAINED = " | "
"""Between the components of a chain."""


def kebab(name: str) -> str:
    """Returns ``name`` as it is written in a configuration: ``latent_size`` -> ``latent-size``."""
    return name.replace("_", "-")


class Options(BaseModel):
    """A frozen set of options; kebab-case outside, snake_case inside; unknown ones are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=kebab,
        populate_by_name=True,
        validate_default=True,
        allow_inf_nan=False,
    )


class Component(Options):
    """Base of every component. ``source`` names the paper (and equation) or the origin of what it implements."""

    source: ClassVar[str] = ""

    moved: ClassVar[Mapping[str, str]] = {}
    """Options that an earlier version had, with what to write instead."""

    @classmethod
    def component_name(cls) -> str:
        """Returns the name in the configuration: that of the file, with ``-`` for ``_``."""
        return kebab(cls.__module__.rpartition(".")[2])

    def spec(self) -> str:
        """Returns the string that describes this component with all its options; ``parse`` reads it back."""
        return self._described(self.model_dump(by_alias=True))

    def brief(self) -> str:
        """Returns the shortest string that describes this component: without options that are at their defaults."""
        return self._described(self.model_dump(by_alias=True, exclude_defaults=True))

    def _described(self, options: Mapping[str, object]) -> str:
        return " ".join([self.component_name(), *(f"{k}={written(v)}" for k, v in options.items())])


C = TypeVar("C", bound=Component)


def parse(kind: str, table: Mapping[str, type[C]], text: str) -> C:
    """Returns the component that ``text`` describes.

    Args:
        kind: The configuration key, for messages: ``"objective"``.
        table: The known components by name.
        text: ``"NAME option=value ..."``; a value with spaces is quoted as in a shell.

    Raises:
        ConfigError: An unknown name or option, or a value outside its range; the message lists what is allowed.
    """
    try:
        name, *words = shlex.split(text)
    except ValueError as error:
        hint = f"one of {', '.join(table)}" if not text.strip() else str(error)
        raise ConfigError(f"{kind}={text!r} is not 'NAME option=value ...': {hint}") from None
    if name not in table:
        raise ConfigError(f"{kind}={text!r}: unknown {_singular(kind)} {name!r}; {suggestion(name, table)}")
    options: dict[str, str] = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator or not key:
            raise ConfigError(f"{kind}={text!r}: {word!r} is not of the form option=value")
        if key in options:
            raise ConfigError(f"{kind}={text!r}: option {key!r} is given twice")
        options[key] = value
    known = [field.alias or key for key, field in table[name].model_fields.items()]
    for key in options:
        if key in table[name].moved:
            raise ConfigError(f"{kind}={text!r}: {name} has no option {key!r} any more: {table[name].moved[key]}")
        if key not in known:
            allowed = suggestion(key, known) if known else "it has no options"
            raise ConfigError(f"{kind}={text!r}: {name} has no option {key!r}; {allowed}")
    try:
        return table[name].model_validate_strings(options, by_alias=True)
    except ValidationError as error:
        raise ConfigError(f"{kind}={text!r}: {explain(error)}") from None


def parse_chain(kind: str, table: Mapping[str, type[C]], text: str) -> list[C]:
    """Returns the components that ``text`` describes, ``"NAME option=value ... | NAME ..."``; none where it is empty.

    Raises:
        ConfigError: See ``parse``.
    """
    return [parse(kind, table, part.strip()) for part in text.split(CHAINED.strip())] if text.strip() else []


def explain(error: ValidationError) -> str:
    """Returns one line that names each refused option, its value and what is allowed."""
    parts = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        given = item["input"]
        if item["type"] == "missing":
            message = f"{where} is missing"
        parts.append(f"{where}={given!r}: {message}" if where and not isinstance(given, dict) else message)
    return "; ".join(parts)


def suggestion(name: str, known: Mapping[str, Any] | list[str]) -> str:
    """Returns ``did you mean ...? known: ...`` for a name that is not among the known ones."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return (f"did you mean {close[0]!r}? " if close else "") + f"known: {', '.join(known)}"


def written(value: object) -> str:
    """Returns the value of an option as it stands after its ``=``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return shlex.quote(str(value))


def _singular(kind: str) -> str:
    return kind.removesuffix("s")
