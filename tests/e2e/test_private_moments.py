"""A whole run of dp-moments: one round, noise in what is published, and the same bits for the same seed."""

import json

import pytest
from conftest import run_on

from client.app import app
from simulations.runtime.in_process import InProcessGrid

pytestmark = pytest.mark.usefixtures("no_reports")


def published(small, name, **changes):
    config = small(
        name,
        model="class-gaussians frequencies=4 brightness=8 rank=8",
        objective="moments",
        algorithm="dp-moments",
        federation__num_rounds=1,
        local__fake_labels="uniform",
        **changes,
    )
    run = run_on(InProcessGrid(app, config.flat(), config.federation.num_clients, 1), config)
    return json.loads(run.summary.read_text())["generator-sha256"]


@pytest.mark.slow
def test_noise_reaches_the_published_generator_and_follows_from_the_seed(small):
    private = {"privacy": "example epsilon=10 delta=1e-5"}
    first = published(small, "first", **private)
    assert published(small, "again", **private) == first
    assert published(small, "other", **private, seed=1) != first
    assert published(small, "exact") != first
