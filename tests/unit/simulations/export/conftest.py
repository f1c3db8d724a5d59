"""What is exported: the generator of a tiny run, and a run whose generator is not conditional."""

import pytest

from simulations.runs.generator import load_trained


@pytest.fixture(scope="session")
def trained(run):
    return load_trained(run.path)


@pytest.fixture(scope="session")
def plain_run(make_run):
    """Of a generator that is not conditional."""
    return make_run("plain", model="mlp width=16 latent-size=8 conditional=false")
