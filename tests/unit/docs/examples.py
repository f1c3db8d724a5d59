"""The components that docs/extending.md gives: their files, their code, their tables."""

import types
from dataclasses import dataclass
from pathlib import Path

import pages
from pages import ROOT

from common import components
from common.component_tables import TABLES
from common.components import Component

PAGE = ROOT / "docs" / "extending.md"
KEYS = {  # by folder: the configuration key, and the table
    "objectives": ("objective", "OBJECTIVES"),
    "models": ("model", "MODELS"),
    "partitioners": ("partition", "PARTITIONERS"),
    "algorithms": ("algorithm", "ALGORITHMS"),
    "aggregators": ("aggregate", "AGGREGATORS"),
    "weightings": ("weighting", "WEIGHTINGS"),
    "hooks": ("hooks", "ROUND_HOOKS"),
    "transforms": ("transforms", "TRANSFORMS"),
    "datasets": ("data.name", "DATASETS"),
}


@dataclass(frozen=True)
class Example:
    """A component of the page: its file, its code."""

    path: str
    code: str

    @property
    def folder(self):
        return self.path.split("/")[1]

    @property
    def key(self):
        return KEYS[self.folder][0]

    @property
    def name(self):
        return components.kebab(Path(self.path).stem)

    def component(self):
        """Returns the class, from the code alone."""
        module = types.ModuleType(self.path.removesuffix(".py").replace("/", "."))
        exec(compile(self.code, self.path, "exec"), module.__dict__)
        (found,) = [
            one for one in vars(module).values()
            if isinstance(one, type) and issubclass(one, Component) and one.__module__ == module.__name__
        ]  # fmt: skip
        return found


def _examples():
    return [Example(name, code) for name, code in pages.files(PAGE).items() if name.startswith("common/")]


EXAMPLES = {example.name: example for example in _examples()}


def put(example, monkeypatch):
    """Puts an example into its table, and returns its class."""
    component = example.component()
    monkeypatch.setitem(TABLES[example.key], example.name, component)
    return component
