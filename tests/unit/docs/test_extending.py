"""The examples of docs/extending.md are whole: each runs as printed, trains, and passes the contract tests."""

import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "common" / "algorithms"))
import pages
from examples import EXAMPLES, KEYS, PAGE, put
from pages import ROOT
from training import one_round, trainer_of

from common import components, tree
from common.algorithms.fedavg import FedAvg
from common.component_tables import TABLES
from common.models.base import ADVERSARIAL
from common.objectives import Batch
from common.seeding import torch_generator
from common.tree import interpolate
from server import checkpoint
from server.records import journal, run_directory
from simulations.commands import main
from simulations.runtime.in_process import simulate
from simulations.runtime.settings import read_overrides


def _lines_of_tests():
    """Returns what the page adds to tables of tests: ``(file, table, line)``."""
    for block in pages.blocks(PAGE, "python"):
        if head := re.match(r"# (tests/\S+\.py), (\w+)\n", block.text):
            yield head[1], head[2], block.text[head.end() :]


FAMILY = ("implicit", "energy-score")

by_example = pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)


@pytest.fixture
def listed(monkeypatch):
    """Returns a function that puts an example into its table, and returns its class."""

    return lambda example: put(example, monkeypatch)


def test_the_page_has_a_whole_example_of_each_kind():
    expected = sorted([*KEYS, "models", "objectives"])  # and a family, which has one of each
    assert sorted(example.folder for example in EXAMPLES.values()) == expected


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
@pytest.mark.parametrize(
    "example", [one for one in EXAMPLES.values() if one.name not in FAMILY], ids=lambda one: one.name
)
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


@pytest.fixture
def family(monkeypatch, small):
    """Returns a maker of what the page's command configures, but short."""
    for name in FAMILY:
        put(EXAMPLES[name], monkeypatch)
    (words,) = [words for words in pages.commands(PAGE) if words[:2] == ["fedgan", "simulate"]]
    requested = read_overrides([value for flag, value in itertools.pairwise(words) if flag == "-c"])
    short = {
        "model": "implicit width=4",
        "partition": "shards per-client=3 examples-per-client=30",
        "federation.num-clients": 2,
        "federation.num-rounds": 2,
        "local.steps": 2,
        "local.schedule": "constant",
        "evaluation.final-num-samples": 100,
    }
    return lambda run, **changes: small(run).replaced(requested | short | changes)


def _weights(config):
    run = run_directory.resolve(config.output.dir)
    return tree.digest(checkpoint.latest(run.checkpoints).snapshot.state.parameters)


@pytest.mark.usefixtures("no_reports")
def test_the_family_trains_goes_on_to_the_same_bits_and_makes_images(family, tmp_path):
    whole, cut = family("whole"), family("cut", **{"federation.num-rounds": 1})
    simulate(whole, num_workers=1)
    lines = journal.read(run_directory.resolve(whole.output.dir).journal)
    for client in lines[-1]["clients"]:
        assert client["energy-loss"] == pytest.approx(client["to-real"] - client["apart"] / 2, rel=1e-5)
    simulate(cut, num_workers=1)
    assert _weights(cut) != _weights(whole)
    simulate(cut.replaced({"federation.num-rounds": 2, "output.resume": True}), num_workers=1)
    assert _weights(cut) == _weights(whole)
    made = tmp_path / "made.npz"
    assert main._run(["generate", whole.output.dir, "--num", "20", "--out", str(made)], debug=False) == 0
    with np.load(made) as arrays:
        assert arrays["images"].shape == (20, 28, 28)
        assert arrays["images"].std() > 0


def test_the_energy_score_is_that_of_a_triangle_by_hand():
    """|x - a| = 5, |x - b| = 4, |a - b| = 3."""
    batch = Batch(
        examples=torch.zeros(1, 1, 1, 2),
        labels=torch.zeros(1, dtype=torch.int64),
        draws={"noise": torch.tensor([[[[3.0, 4.0]]]]), "other-noise": torch.tensor([[[[0.0, 4.0]]]])},
        generator=torch_generator(0, "test"),
    )
    (phase,) = EXAMPLES["energy-score"].component()().phases()
    loss, watched = phase.loss({"sampler": lambda noise, labels: noise}, batch)
    assert loss.item() == pytest.approx(3.0)
    assert {name: value.item() for name, value in watched.items()} == pytest.approx({"to-real": 4.5, "apart": 3.0})


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
