"""A whole run of dp-moments: one round, noise in what is published, and the same bits for the same seed."""

import json
import math

import pytest
from conftest import run_on

from client.app import app
from common.errors import ConfigError, FederationError
from common.models.class_gaussians import ClassGaussians
from common.privacy.accounting import noise_multiplier
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


def test_noise_is_shared_where_the_server_learns_the_sum_alone(small, monkeypatch):
    sums = []
    fitted = ClassGaussians.fitted
    monkeypatch.setattr(
        ClassGaussians,
        "fitted",
        lambda self, spec, sums_, noise: sums.append(noise) or fitted(self, spec, sums_, noise),
    )
    alone = noise_multiplier(10.0, 1e-5, 1.0, 1)
    secure = {"aggregate": "secure-mean threshold=3 range=1024", "federation__num_clients": 4}
    private = {"privacy": "example epsilon=10 delta=1e-5 sharers=2"}
    published(small, "shared", **secure, **private)
    assert sums[-1] == pytest.approx(alone * math.sqrt(4 / 2))  # with one client of the three in collusion: alone
    published(small, "own", **secure, privacy="example epsilon=10 delta=1e-5")
    assert sums[-1] == pytest.approx(alone * math.sqrt(4))
    published(small, "exact", **secure)
    assert sums[-1] == 0


def test_sums_that_might_not_fit_are_refused_whatever_the_examples(small):
    secure = {"aggregate": "secure-mean threshold=3 range=8", "privacy": "example epsilon=10 sharers=2"}
    with pytest.raises(FederationError, match="0 usable replies of 4"):
        published(small, "narrow", federation__num_clients=4, **secure)


@pytest.mark.parametrize(
    ("changes", "way_out"),
    [
        ({"aggregate": "mean"}, "take aggregate='secure-mean' or set sharers=0"),
        ({"aggregate": "secure-mean threshold=3"}, "set sharers=3 or fewer, or a larger threshold"),
        ({"model": "dcgan", "objective": "hinge", "algorithm": "fedavg"}, "take algorithm='dp-moments'"),
    ],
)
def test_noise_that_cannot_be_shared_is_refused(small, changes, way_out):
    whole = {"model": "class-gaussians", "objective": "moments", "algorithm": "dp-moments", "federation__num_rounds": 1}
    with pytest.raises(ConfigError, match=way_out):
        small(**whole | changes, privacy="example epsilon=10 sharers=4", federation__num_clients=4)
