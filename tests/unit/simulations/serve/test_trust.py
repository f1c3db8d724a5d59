"""What images are kept by is known before anyone tries, for each family."""

import pytest

from common.config import RunConfig
from common.errors import ConfigError
from simulations.runtime import in_process
from simulations.serve.generate_requests import GenerateRequest
from simulations.serve.library import Library
from simulations.serve.models import Models
from simulations.serve.sampling import draw
from simulations.serve.summaries import read_detail
from simulations.serve.trust import trusts_of, why_not
from tests.conftest import SMALL
from tests.unit.simulations.serve.conftest import line

VAE = {"model": "vae", "objective": "elbo"}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, ["adversary", "classifier"]),
        ({"has_adversary": False}, ["classifier"]),
        ({"holds_digits": False}, ["adversary"]),
        ({"conditional": False}, ["adversary"]),
        ({"shape": (3, 28, 10)}, ["adversary"]),
        ({"has_adversary": False, "shape": (1, 32, 10)}, []),
    ],
)
def test_a_generator_is_judged_by_what_there_is(facts, expected):
    whole = {"has_adversary": True, "shape": (1, 28, 10), "holds_digits": True, "conditional": True}
    assert trusts_of(**whole | facts) == expected


def test_a_refusal_names_only_ways_that_are_open():
    assert why_not("adversary", ["classifier"]).endswith("; take trust=classifier, or leave keep out")
    assert why_not("classifier", []).endswith("; leave keep out")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, ["adversary", "classifier"]),
        (VAE, ["classifier"]),
        ({**VAE, "data.name": "fashion-mnist"}, []),
        ({"model": "unet", "objective": "flow-matching", "data.name": "stacked-mnist"}, []),
    ],
)
def test_a_page_knows_what_a_runs_images_are_kept_by(config, expected, written):
    run = written([line(1)], **config)
    detail = read_detail(Library(run.path).get(run.name))
    assert detail.images.trusts == expected


def test_keeping_without_an_adversary_is_refused_with_the_way_that_is_open(tmp_path):
    tiny = {"model": "vae width=4 latent-size=2", "objective": "elbo", "federation.num-rounds": 1, "local.steps": 1}
    config = RunConfig.from_flat(SMALL | tiny | {"output.dir": str(tmp_path / "encoded")})
    in_process.simulate(config, num_workers=1)
    network = Models().get(Library(tmp_path).get("encoded"), "last", None)
    with pytest.raises(ConfigError, match=r"no adversary on the server; take trust=classifier, or leave keep out$"):
        draw(GenerateRequest(num=2, keep=0.5), network)
    assert len(draw(GenerateRequest(num=2, keep=0.5, trust="classifier"), network).labels) == 4


def test_the_noise_of_a_large_flow_fits_a_request():
    assert GenerateRequest(noise=[[0.0] * (3 * 64 * 64)]).count == 1
