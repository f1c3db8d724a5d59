"""A study as its file says it: rows of settings, a grid of more, seeds, folds, and what rows are compared by.

title = "Which of two ways to average?"
preset = "quickstart"               # or p1 and so on, or a TOML file beside this one
seeds = "0-4"                       # or [0, 1, 2]
folds = 5                           # of each client's data, held out one after another
metrics = ["fid", "utility"]        # that rows are tested by
against = "both networks"           # the row that others are compared with; else each with each

[settings]                          # of all rows
federation.num-rounds = 20

[rows."both networks"]              # one by one
[rows."generator alone"]
algorithm = "fedavg sync=generator"

[grid]                              # each with each of these
"local.steps" = [10, 40]
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.components import suggestion
from common.config import RunConfig, Scalar
from common.config_values import flatten
from common.errors import ConfigError
from common.files import read_toml
from common.metrics import table
from simulations.runtime.settings import PRESETS, read_preset, whole_numbers
from simulations.studies.cells import Cell, plan, read_seeds
from simulations.studies.entries import Entry, check_distinct, written

_KEYS = ("title", "preset", "seeds", "folds", "metrics", "against", "settings", "rows", "grid")
_OF_THE_STUDY = {"seed": "seeds", "evaluation.folds": "folds", "evaluation.fold": "folds", "output.dir": "--out"}
_RESERVED = ("protocol.json", "results.json", "trials.json")


@dataclass(frozen=True)
class Study:
    """What a file of a study says.

    Attributes:
        name: That of the file, without its ending.
        title: What it is about.
        base: What all rows share.
        settings: What of it the file and the user changed in the preset, by dotted key.
        entries: The rows.
        seeds: Roots of random numbers.
        folds: Of each client's data; 0: none.
        metrics: Scores that rows are compared by; empty: the one that rounds are compared by.
        against: The label of the row that all others are compared with; empty: each with each.
    """

    name: str
    title: str
    base: RunConfig
    settings: Mapping[str, Scalar]
    entries: tuple[Entry, ...]
    seeds: tuple[int, ...]
    folds: int
    metrics: tuple[str, ...]
    against: str

    def cells(self, folder: Path) -> list[Cell]:
        """Returns its runs, in the order in which they are run."""
        return plan(self.base, self.entries, self.seeds, folder, range(1, self.folds + 1) if self.folds else (0,))

    def description(self) -> dict[str, Any]:
        """Returns what ``open_table`` keeps of it."""
        return {
            "kind": "study",
            "protocol": self.name,
            "budget": "",
            "name": "",
            "title": self.title,
            "overrides": dict(self.settings),
            "labels": [entry.label for entry in self.entries],
            "seeds": list(self.seeds),
            "folds": self.folds,
            "metrics": list(self.metrics),
            "against": self.against,
        }


def read_study(file: Path, overrides: Mapping[str, Any], seeds: str | None = None) -> Study:
    """Returns the study that a file describes.

    Args:
        file: TOML, see the top of this file.
        overrides: Settings of all rows that go before those of the file, by dotted key.
        seeds: In the place of the file's.

    Raises:
        ConfigError: What cannot be a study, by its key and value.
    """
    name = repr(str(file))
    if not file.exists() and (PRESETS / f"{file.name.lower()}.toml").is_file():
        raise ConfigError(f"{name} is a preset: a study is a file of rows that names it (preset = {str(file)!r})")
    found = read_toml(file)
    sections = RunConfig.keys()
    for key in found.keys() - set(_KEYS):
        if key.partition(".")[0] in {known.partition(".")[0] for known in sections}:
            raise ConfigError(f"{name}: {key} is a setting of a run: write it below [settings], or below a row")
        raise ConfigError(f"{name}: there is no key {key!r}; {suggestion(key, list(_KEYS))}")
    for key in ("settings", "rows", "grid"):
        if not isinstance(found.get(key, {}), Mapping):
            raise ConfigError(f"{name}: {key} is a table: [{key}]")
    settings = whole_numbers(flatten(found.get("settings", {}))) | dict(overrides)
    values = read_preset(_preset(file, _text(found, "preset", name) or "quickstart")) | settings
    folds = _folds(found, name)
    root = Path(str(values.get("data.root", "data"))).expanduser().absolute()
    own: dict[str, Scalar] = {"data.root": str(root)} | ({"evaluation.folds": folds} if folds else {})
    _check_free({**settings}, f"{name}, [settings]")
    base = RunConfig.from_flat(values | own)
    entries = tuple(_entries(found.get("rows", {}), found.get("grid", {}), base, name))
    metrics = _names(found, "metrics", name)
    if unknown := [metric for metric in metrics if metric not in _comparable()]:
        raise ConfigError(f"{name}: metrics={list(metrics)!r}: {suggestion(unknown[0], _comparable())}")
    against = _text(found, "against", name)
    if against and against not in (labels := [entry.label for entry in entries]):
        raise ConfigError(f"{name}: against={against!r}: there is no such row; {suggestion(against, labels)}")
    return Study(
        name=file.stem,
        title=_text(found, "title", name) or file.stem,
        base=base,
        settings={key: value for key, value in settings.items() if key != "data.root"},
        entries=entries,
        seeds=tuple(read_seeds(seeds, "--seeds") if seeds is not None else _seeds(found, name)),
        folds=folds,
        metrics=metrics,
        against=against,
    )


def _comparable() -> list[str]:
    """Returns the scores that rows may be compared by."""
    return [*table.columns(of_clients=False), *table.columns(of_clients=True)]


def _preset(file: Path, name: str) -> str:
    """Returns a preset's name, or the place of a file: one beside the study's goes before one of the working folder."""
    beside = file.parent / name
    is_preset = (PRESETS / f"{name.lower()}.toml").is_file()
    return str(beside) if not is_preset and name.lower().endswith(".toml") and beside.is_file() else name


def _text(found: Mapping[str, Any], key: str, name: str) -> str:
    value = found.get(key, "")
    if not isinstance(value, str):
        raise ConfigError(f'{name}: {key}={value!r}: a text in quotes, as {key} = "..."')
    return value


def _names(found: Mapping[str, Any], key: str, name: str) -> tuple[str, ...]:
    value = found.get(key, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ConfigError(f'{name}: {key}={value!r}: a list of texts, as {key} = ["fid"]')
    return tuple(dict.fromkeys(value))


def _seeds(found: Mapping[str, Any], name: str) -> list[int]:
    value = found.get("seeds", "0,1,2")
    if isinstance(value, int):
        many = f'"0-{max(value, 1) - 1}"'
        raise ConfigError(f"{name}: seeds={value!r}: a list, as [{value}], or a text with a range: {many}")
    if isinstance(value, list):
        value = ",".join(map(str, value))
    return read_seeds(str(value), f"{name}: seeds")


def _folds(found: Mapping[str, Any], name: str) -> int:
    value = found.get("folds", 0)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0 or value == 1:
        raise ConfigError(f"{name}: folds={value!r}: a whole number from 2 on, or 0 for none")
    return value


def _entries(rows: Mapping[str, Any], grid: Mapping[str, Any], base: RunConfig, name: str) -> list[Entry]:
    """Returns each row with each point of the grid; without rows the points of the grid alone."""
    named: dict[str, dict[str, Any]] = {}
    for label, settings in rows.items():
        if not isinstance(settings, Mapping):
            raise ConfigError(f"{name}: {label}={settings!r} below [rows]: a row is a table: [rows.{label!r}]")
        named[label] = whole_numbers(flatten(settings))
    points = list(_points(grid, name))
    if not named and not grid:
        raise ConfigError(
            f"{name}: there are no rows: name settings below [rows.NAME], or lists of values below [grid]"
        )
    entries: list[Entry] = []
    for label, settings in (named or {"": {}}).items():
        for point in points:
            whole = ", ".join(filter(None, [label, written(point).replace('"', "")]))
            _check_label(whole, name)
            _check_free(settings | point, f"{name}, row {whole!r}")
            if twice := settings.keys() & point.keys():
                raise ConfigError(
                    f"{name}: {', '.join(sorted(twice))} stands in row {label!r} and in [grid]: leave one out"
                )
            overrides = settings | point
            note = (written(overrides) or "the settings of all rows") if label else ""
            entry = Entry(whole, "row", overrides, note, place=len(entries))
            try:
                base.replaced(overrides)
            except ConfigError as error:
                raise ConfigError(f"{name}, row {whole!r}: {error}") from None
            entries.append(entry)
    check_distinct(entries)
    return entries


def _points(grid: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Returns every choice of one value for each key of the grid; the last key runs fastest."""
    lists = flatten(grid)
    for key, values in lists.items():
        if not isinstance(values, list) or not values:
            raise ConfigError(f"{name}, [grid]: {key}={values!r}: a list of values, as [1, 2]")
    return [whole_numbers(dict(zip(lists, chosen, strict=True))) for chosen in itertools.product(*lists.values())]


def _check_label(label: str, name: str) -> None:
    slug = Entry(label, "row", {}).slug
    if not slug.strip("._-") or slug.startswith(".") or slug in _RESERVED:
        raise ConfigError(f"{name}: row {label!r}: it names a folder: take a name with letters or digits")


def _check_free(settings: Mapping[str, Any], where: str) -> None:
    """Refuses settings that a study gives its cells itself."""
    for key in settings:
        if key in _OF_THE_STUDY:
            raise ConfigError(f"{where}: {key} differs from cell to cell: a study has {_OF_THE_STUDY[key]} for it")
        if key == "output.resume":
            raise ConfigError(f"{where}: {key}: the same command goes on by itself: leave it out")
