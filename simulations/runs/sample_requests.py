"""What a caller may ask of a run's generator: checked here for the command line, for Python and for HTTP alike."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BeforeValidator, ConfigDict, Field, ValidationError

from common.components import Options, explain, suggestion
from common.errors import ConfigError

MOST_IMAGES = 10_000_000
LARGEST_SEED = 2**63 - 1
DEFAULT_LENGTH = 300
"""Characters of a text."""

Seed = Annotated[int, Field(ge=0, lt=2**63)]


def plain(value: Any) -> Any:
    """Returns one of NumPy's numbers as Python's, which strict checks want, and anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


Plain = BeforeValidator(plain)


def as_unicode(value: str) -> str:
    """Returns a text that can be written in UTF-8 as it is.

    Raises:
        ValueError: It has half of a character.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"character {error.start} is no Unicode character") from None
    return value


class Request(Options):
    """What is asked for, by names as they are in Python; nothing is read as another type than it has."""

    model_config = ConfigDict(strict=True, alias_generator=None)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Returns what ``given`` asks for.

        Raises:
            ConfigError: An unknown name, or a value of another type or out of its range.
        """
        known = list(cls.model_fields)
        for name, value in given.items():
            if name not in known:
                raise ConfigError(f"{name}={value!r}: no such option; {suggestion(name, known)}")
        try:
            return cls.model_validate(dict(given))
        except ValidationError as error:
            raise ConfigError(explain(error)) from None


class Draw(Request):
    """Images of a generator.

    Attributes:
        num: How many.
        seed: Of the noise.
    """

    num: Annotated[int, Plain, Field(ge=1, le=MOST_IMAGES)] = 100
    seed: Annotated[Seed, Plain] = 0


def place(name: str, value: object) -> Path:
    """Returns the path that a caller names.

    Raises:
        ConfigError: It is none.
    """
    if not isinstance(value, str | os.PathLike) or not (text := os.fspath(value)) or "\0" in str(text):
        raise ConfigError(f"{name}={value!r}: the path of a file or folder, as text or as a Path")
    return Path(os.fsdecode(text))
