"""Domains: which values a search may give one setting, and how one is drawn."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from common import components
from common.config import Scalar
from common.errors import ConfigError

Number = Annotated[int, Field(strict=True)] | Annotated[float, Field(strict=True)]
When = Mapping[str, tuple[str, ...]]
"""Components by the key that picks them: a setting is searched where one of these is picked."""

_DIGITS = 4  # of a drawn number that is no whole one: presets are read by people


class Suggests(Protocol):
    """What draws parameters: a trial of Optuna's."""

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        """Returns a number of a range."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        """Returns a whole number of a range."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Returns one of several values."""


class _Domain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    when: dict[str, tuple[str, ...]] = {}

    @field_validator("when", mode="before")
    @classmethod
    def _of_one_or_several(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError('a table of components: when = { model = "dcgan" }')
        return {key: [names] if isinstance(names, str) else names for key, names in value.items()}


class Choices(_Domain):
    """One of several values: ``KEY = [16, 32, 64]``."""

    values: tuple[bool | int | float | str, ...] = Field(min_length=1)

    @field_validator("values", mode="before")
    @classmethod
    def _are_scalars(cls, values: Any) -> Any:
        if not isinstance(values, list | tuple):
            raise ValueError("a list of values")
        if wrong := [value for value in values if not isinstance(value, bool | int | float | str)]:
            raise ValueError(f"{wrong[0]!r} is no number, string, true or false")
        if len({(type(value), value) for value in values}) < len(values):
            raise ValueError("each value once")
        return values

    def draw(self, trial: Suggests, name: str) -> Scalar:
        """Returns a value, under the parameter's name."""
        if len(self.values) == 1:
            return self.values[0]
        picked: Scalar = trial.suggest_categorical(name, list(self.values))
        return picked

    def examples(self) -> Sequence[Scalar]:
        """Returns values that tell whether all of them are allowed."""
        return self.values


class Range(_Domain):
    """A number from ``low`` to ``high``: ``KEY = { low = 1e-4, high = 1e-2, log = true }``."""

    low: Number
    high: Number
    log: Annotated[bool, Field(strict=True)] = False
    step: Number | None = None

    @model_validator(mode="after")
    def _is_one(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"low={self.low} is to be below high={self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log=true: low={self.low} is to be above 0")
        if self.step is not None and self.log:
            raise ValueError("step and log do not go together: leave one out")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step={self.step} is to be above 0")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether it is of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int) and not isinstance(self.step, float)

    @property
    def last(self) -> float:
        """The highest value that can be drawn."""
        if self.step is None:
            return self.high
        return self.low + int((self.high - self.low) / self.step + 1e-9) * self.step

    def draw(self, trial: Suggests, name: str) -> Scalar:
        """Returns a value, under the parameter's name; one that is not whole with four significant digits."""
        if self.is_whole:
            return trial.suggest_int(name, int(self.low), int(self.last), step=int(self.step or 1), log=self.log)
        drawn = trial.suggest_float(name, float(self.low), float(self.last), step=self.step, log=self.log)
        return min(max(float(f"{drawn:.{_DIGITS}g}"), float(self.low)), float(self.high))

    def examples(self) -> Sequence[Scalar]:
        """Returns values that tell whether all of them are allowed."""
        return (self.low, self.last)


Domain = Choices | Range


def read_domain(where: str, value: Any, kind: type) -> Domain:
    """Returns the domain that a space file gives a setting.

    Args:
        where: The file and the setting, for messages.
        value: A table of a range, a table of ``values``, a list of values, or one value, which then is no choice.
        kind: The type of the setting's values.

    Raises:
        ConfigError: It is no domain, or not of such values.
    """
    given = value if isinstance(value, Mapping) else {"values": value if isinstance(value, list) else [value]}
    which: type[Choices] | type[Range] = Choices if "values" in given else Range
    for key in given:
        if key not in which.model_fields:
            known = components.suggestion(key, list(which.model_fields))
            raise ConfigError(f"{where}: {key!r} is no part of what to search; {known}")
    try:
        domain: Domain = which.model_validate(dict(given))
    except ValidationError as error:
        raise ConfigError(f"{where}: {components.explain(error)}") from None
    if isinstance(domain, Range):
        if kind not in (int, float):
            raise ConfigError(f"{where}: it is no number, so a list of its values is searched, as [{_example(kind)}]")
        if kind is int and not domain.is_whole:
            raise ConfigError(f"{where}: low, high and step are to be whole numbers")
        if kind is float:
            whole = {"low": float(domain.low), "high": float(domain.high)}
            domain = domain.model_copy(update=whole)
    return domain


def _example(kind: type) -> str:
    return "true, false" if kind is bool else '"one", "another"'
