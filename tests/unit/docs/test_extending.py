"""The examples of docs/extending.md are whole: each runs as printed, trains, and passes the contract tests."""

import os
import re
import shutil
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "common" / "algorithms"))
import pages
from pages import ROOT
from training import one_round, trainer_of

from common import components, tree
from common.algorithms.fedavg import FedAvg
from common.components import Component
from common.config import TABLES
from common.models.base import ADVERSARIAL
from common.tree import interpolate
from server.records import journal, run_directory
from simulations.runtime.in_process import simulate

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


def _lines_of_tests():
    """Returns what the page adds to tables of tests: ``(file, table, line)``."""
    for block in pages.blocks(PAGE, "python"):
        if head := re.match(r"# (tests/\S+\.py), (\w+)\n", block.text):
            yield head[1], head[2], block.text[head.end() :]


EXAMPLES = {example.name: example for example in _examples()}
by_example = pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)


@pytest.fixture
def listed(monkeypatch):
    """Returns a function that puts an example into its table, and returns its class."""

    def put(example):
        component = example.component()
        monkeypatch.setitem(TABLES[example.key], example.name, component)
        return component

    return put


def test_the_page_has_a_whole_example_of_each_kind():
    assert sorted(example.folder for example in EXAMPLES.values()) == sorted(KEYS)


def test_the_loss_in_the_readme_is_that_of_its_file():
    (block,) = [block for block in pages.blocks(ROOT / "README.md", "python") if "class " in block.text]
    assert block.text == (ROOT / "common" / "objectives" / "hinge.py").read_text()


@by_example
def test_an_example_is_a_component_with_source_and_descriptions(example, listed):
    component = listed(example)
    assert component.component_name() == example.name
    assert component.source
    assert all(field.description for field in component.model_fields.values())
    made = components.parse(example.key, TABLES[example.key], example.name)
    assert components.parse(example.key, TABLES[example.key], made.spec()) == made


@pytest.mark.usefixtures("no_reports")
@by_example
def test_an_example_trains(example, listed, small, tmp_path):
    listed(example)
    values = {example.key.replace(".", "__"): example.name, "federation__num_rounds": 1}
    if example.folder == "datasets":
        np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (400, 1, 28, 28), dtype=np.uint8))
        np.save(tmp_path / "labels.npy", np.arange(400) % 4)
        values["data__root"] = str(tmp_path)
    config = small(**values)
    simulate(config, num_workers=1)
    (line,) = journal.read(run_directory.resolve(config.output.dir).journal)
    assert len(line["clients"]) == 4
    assert not line["refused"]


@pytest.mark.slow
def test_examples_pass_the_contract_tests_once_they_are_files_and_entries(tmp_path):
    """As a reader does it: the files, the entries and the lines in the tests' tables, in a copy; then pytest."""
    for folder in ("common", "client", "server", "simulations", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    for example in EXAMPLES.values():
        (tmp_path / example.path).write_text(example.code)
        table = tmp_path / "common" / example.folder / "__init__.py"
        entry = f'"{example.name}": {example.component().__name__}, '
        module = example.path.removesuffix(".py").replace("/", ".")
        _insert(table, rf"^{KEYS[example.folder][1]}\b.* = {{", entry)
        _insert(
            table, r"^from common\.\w+\.base import", f"from {module} import {entry.split()[1][:-1]}\n", before=True
        )
    files = {"tests/unit/common/test_components.py", "tests/unit/client/test_trainer.py"}
    files |= {f"tests/unit/common/{folder}" for folder in KEYS}
    for file, table, line in _lines_of_tests():
        _insert(tmp_path / file, rf"^{table}\b.* = {{", f"\n{line}")
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *sorted(files)]
    command += ["-k", " or ".join([*EXAMPLES, "every_objective_has"])]
    env = os.environ | {"PYTHONPATH": str(tmp_path), "COLUMNS": "500"}
    outcome = subprocess.run(command, cwd=tmp_path, env=env, check=False, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stdout[-3000:] + outcome.stderr[-1000:]
    for name in EXAMPLES:
        assert re.search(rf"\[([^\]]*[- ])?{name}([- ][^\]]*)?\] PASSED", outcome.stdout), name


def _insert(file, pattern, text, before=False):
    found = re.search(pattern, file.read_text(), re.MULTILINE)
    assert found, f"{file.name} has no {pattern}"
    place = found.start() if before else found.end()
    whole = file.read_text()
    file.write_text(whole[:place] + text + whole[place:])


def trained(algorithm):
    state = algorithm.init(trainer_of().initial(), ADVERSARIAL)
    (reply,) = one_round(algorithm, state, {0: {}})
    return tree.distance(reply.arrays, state.parameters), reply.arrays


@pytest.mark.parametrize("sync", ["both", "generator", "discriminator"])
def test_a_high_limit_is_fedavg_and_a_low_one_shortens_the_update_and_keeps_its_direction(sync):
    clipped = EXAMPLES["clipped"].component()
    (length, plain), (_, free) = trained(FedAvg(sync=sync)), trained(clipped(sync=sync, limit=1e6))
    assert tree.digest(free) == tree.digest(plain)
    short, cut = trained(clipped(sync=sync, limit=length / 4))
    assert short == pytest.approx(length / 4, rel=1e-4)
    start = FedAvg(sync=sync).init(trainer_of().initial(), ADVERSARIAL).parameters
    assert tree.distance(cut, interpolate(start, plain, keep=0.75)) < 1e-4 * length
