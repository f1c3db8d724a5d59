"""The space of a search: the file that says which settings may take which values, and settings drawn from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from common import components
from common.component_tables import TABLES
from common.config import RunConfig, Scalar
from common.config_keys import ConfigKeys
from common.config_values import fault
from common.errors import ConfigError
from common.files import read_toml
from common.setting_suggestions import nearest
from simulations.search.domains import Choices, Domain, Range, Suggests, read_domain

_CHAINS = ("transforms", "hooks")
_KINDS: dict[object, type] = {int: int, float: float, bool: bool}
_OTHER_DATA = "scores on other data, or other shares of them, do not compare"
_NOT_SEARCHED = {
    "seed": "luck is no setting: finalists are repeated with other seeds (--seeds)",
    "privacy": "what is promised of examples is not for a score to choose",
    "data.": _OTHER_DATA,
    "partition": _OTHER_DATA,
    "federation.num-clients": _OTHER_DATA,
    "evaluation.": "scores that are made in different ways do not compare",
    "output.": "no score depends on it",
    "tracking": "no score depends on it",
    "hooks": "which trials end early is up to --pruner",
}


@dataclass(frozen=True)
class Parameter:
    """One thing that is drawn.

    Attributes:
        name: ``local.learning-rate``; ``objective`` for which one; ``objective.hinge.r1`` for an option of one.
        domain: Its values.
        owner: The component that it is an option of, as key and name; None: of none.
    """

    name: str
    domain: Domain
    owner: tuple[str, str] | None = None


@dataclass(frozen=True)
class Space:
    """Which settings are searched.

    Attributes:
        components: By the key that picks one: names, each with its options to draw.
        settings: By dotted key: all others, whole components among them.
    """

    components: Mapping[str, Mapping[str, Mapping[str, Domain]]] = field(default_factory=dict)
    settings: Mapping[str, Domain] = field(default_factory=dict)

    def draw(self, trial: Suggests, base: RunConfig) -> dict[str, Scalar]:
        """Returns settings by dotted key.

        An option is drawn where its component is, and a setting with ``when`` where one of those components is.

        Args:
            trial: Draws.
            base: What is not searched.
        """
        flat, drawn = base.flat(), dict[str, Scalar]()
        for key, names in self.components.items():
            name = Choices(values=tuple(names)).draw(trial, key)
            options = names[str(name)]
            words = [
                f"{option}={components.written(domain.draw(trial, f'{key}.{name}.{option}'))}"
                for option, domain in options.items()
            ]
            drawn[key] = " ".join([str(name), *words])
        for key in sorted(self.settings, key=lambda key: key not in TABLES):  # others may depend on them
            domain = self.settings[key]
            if all(_name_of((flat | drawn)[other]) in names for other, names in domain.when.items()):
                drawn[key] = domain.draw(trial, key)
        return drawn

    def parameters(self) -> list[Parameter]:
        """Returns what is drawn, without what has one value only."""
        found = []
        for key, names in self.components.items():
            found.append(Parameter(key, Choices(values=tuple(names))))
            found += [
                Parameter(f"{key}.{name}.{option}", domain, (key, name))
                for name, options in names.items()
                for option, domain in options.items()
            ]
        found += [Parameter(key, domain) for key, domain in self.settings.items()]
        return [one for one in found if isinstance(one.domain, Range) or len(one.domain.values) > 1]


def read_space(path: Path) -> Space:
    """Returns the space that a TOML file describes (``docs/search.md``).

    Raises:
        ConfigError: It is not there or not TOML, or a key or value is none; names the file and the key.
    """
    return space_of(read_toml(path), path.name)


def space_of(tables: Mapping[str, Any], file: str) -> Space:
    """Returns the space of the nested tables of a file; see ``read_space``."""
    reader = _Reader(file)
    reader.read(tables, "")
    space = Space(reader.components, reader.settings)
    if not space.parameters():
        raise ConfigError(
            f"{file}: there is nothing to search: give a key several values, as local.steps = [10, 20], or a range, "
            "as local.learning-rate = { low = 1e-4, high = 1e-2, log = true }"
        )
    return space


class _Reader:
    """Takes the tables of a space file apart, and checks what it finds."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._known = RunConfig.keys()
        self.components: dict[str, dict[str, dict[str, Domain]]] = {}
        self.settings: dict[str, Domain] = {}

    def read(self, tables: Mapping[str, Any], prefix: str) -> None:
        for name, value in tables.items():
            key = f"{prefix}{name}"
            if any(known.startswith(f"{key}.") for known in self._known):
                self._section(key, value)
                continue
            if key not in self._known:
                near = nearest(key, self._known)
                hint = (
                    f"did you mean {' or '.join(map(repr, near))}?"
                    if near
                    else "fedgan simulate --dry-run shows every key"
                )
                raise ConfigError(f"{self._file}: {key}: no such key; {hint}")
            self._refuse(key)
            if key in TABLES and isinstance(value, Mapping) and "values" not in value:
                self.components[key] = self._tables(key, value)
            else:
                self.settings[key] = self._setting(key, value)

    def _section(self, key: str, value: Any) -> None:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{self._file}: {key} is a section, with keys of its own: [{key}]")
        self.read(value, f"{key}.")

    def _refuse(self, key: str) -> None:
        for start, why in _NOT_SEARCHED.items():
            if key == start or (start.endswith(".") and key.startswith(start)):
                raise ConfigError(
                    f"{self._file}: {key} is not searched: {why}; -c or the preset sets it for all trials alike"
                )

    def _tables(self, key: str, value: Mapping[str, Any]) -> dict[str, dict[str, Domain]]:
        """Returns the components of ``[KEY.NAME]`` tables, each with its options to draw."""
        if key in _CHAINS:
            raise ConfigError(f'{self._file}: {key} is a chain: give whole ones, as {key} = ["", "clip norm=1.0"]')
        found: dict[str, dict[str, Domain]] = {}
        for name, options in value.items():
            where = f"{self._file}: {key}.{name}"
            self._parsed(where, key, name)
            if not isinstance(options, Mapping):
                raise ConfigError(f"{where} is a component: its options stand in a table, [{key}.{name}]")
            found[name] = {
                option: self._option(f"{where}.{option}", key, name, option, inner) for option, inner in options.items()
            }
        if not found:
            raise ConfigError(f"{self._file}: {key} names no component")
        return found

    def _option(self, where: str, key: str, name: str, option: str, value: Any) -> Domain:
        fields = {field.alias or known: field for known, field in TABLES[key][name].model_fields.items()}
        if option not in fields:
            self._parsed(where, key, f"{name} {option}=0")  # says what is meant
        domain = read_domain(where, value, _KINDS.get(fields[option].annotation, str))
        if domain.when:
            raise ConfigError(f"{where}: an option is drawn where {name} is, and has no when")
        for example in domain.examples():
            self._parsed(where, key, f"{name} {option}={components.written(example)}")
        return domain

    def _setting(self, key: str, value: Any) -> Domain:
        where, kind = f"{self._file}: {key}", self._known[key]
        domain = read_domain(where, value, kind)
        if domain.when and key in TABLES:
            raise ConfigError(f"{where}: which one is picked decides what else is searched, so it has no when")
        for example in domain.examples():
            if wrong := fault(example, kind):
                raise ConfigError(f"{where}: {example!r}: {wrong}")
            section, _, name = key.rpartition(".")
            try:
                ConfigKeys.model_validate({section: {name: example}} if section else {name: example}, by_alias=True)
            except (ConfigError, ValidationError) as error:
                raise ConfigError(f"{self._file}: {_reason(error)}") from None
        for other, names in domain.when.items():
            if other not in TABLES or other in _CHAINS:
                picks = [name for name in TABLES if name not in _CHAINS]
                raise ConfigError(f"{where}: when.{other}: {components.suggestion(other, picks)}")
            for name in names:
                self._parsed(f"{where}: when", other, name)
        return domain

    def _parsed(self, where: str, key: str, text: str) -> None:
        try:
            components.parse(key, TABLES[key], text)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None


def _reason(error: ConfigError | ValidationError) -> str:
    return components.explain(error) if isinstance(error, ValidationError) else str(error)


def _name_of(spec: Scalar) -> str:
    return str(spec).partition(" ")[0]
