"""The project's strongest promise: the same bits, whatever runs the clients."""

import json
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from conftest import COUNTS, TEXT
from flower import flower

from common.config import RunConfig
from server.records import run_directory
from server.records.run_directory import RunDirectory
from simulations.runtime.in_process import simulate

VARIANTS = {
    "scaffold, moments kept": {
        "federation.fraction": 0.5,
        "algorithm": "scaffold sync=generator",
        "local.moments": "keep",
    },
    "masked sums": {"algorithm": "fedavg sync=generator", "aggregate": "secure-mean threshold=3"},
}
if "FEDGAN_ALL_TESTS" in os.environ:  # every algorithm: test_algorithms.py; text, deployed: test_deployed.py
    VARIANTS["scaffold of ten"] = {**VARIANTS["scaffold, moments kept"], "federation.num-clients": 10}
    VARIANTS["text by role"] = {**TEXT, "algorithm": "fedopt optimizer=adam", "transforms": "clip norm=1.0"}
    VARIANTS["counts of n-grams"] = COUNTS
    VARIANTS["privacy of clients"] = {
        "privacy": "client epsilon=8 most-noise=1e6",  # as bytes: test_algorithms.py
        "federation.num-clients": 6,
        "federation.fraction": 0.95,
    }


@pytest.fixture(scope="module")
def flwr(tmp_path_factory):
    """Gives a user of Flower, whose first run starts a SuperLink for all."""
    with flower(tmp_path_factory.mktemp("ray") / "home") as home:
        yield home


def summary_of(config):
    return json.loads(RunDirectory(run_directory.resolve(config.output.dir).path).summary.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_flower_on_ray_ends_with_the_same_bits_as_the_in_process_grid(flwr, small, tmp_path, name):
    common = {"model": "dcgan width=4 latent-size=8", **VARIANTS[name]}
    ours, theirs = small("ours", **common), small("theirs", **common)
    simulate(ours)
    file = tmp_path / "config.toml"
    file.write_text(theirs.toml())
    run_id = flwr.submit(file, f"num-supernodes={theirs.federation.num_clients} client-resources-num-cpus=1")
    assert flwr.wait(run_id) == "finished:completed", flwr.log(run_id)
    assert summary_of(theirs)["weights-sha256"] == summary_of(ours)["weights-sha256"]
    assert f"run directory: {theirs.output.dir}" in flwr.log(run_id)


def test_every_configuration_key_is_one_that_flower_accepts():
    assert all(isinstance(value, bool | int | float | str) for value in RunConfig().flat().values())
