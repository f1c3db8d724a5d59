"""Trained models that are sampled from in another way than their run: ``--sampler``."""

import json

import numpy as np
import pytest
import torch

from common.components import parse
from common.errors import ConfigError
from common.models import MODELS
from simulations.commands import main
from simulations.runs.generator import load_trained
from simulations.runs.provenance import read
from tests.unit.simulations.commands.test_main import TINY, fedgan

FLOW = (
    TINY.replace("mlp width=16 latent-size=8", "unet width=8 steps=2 solver=euler")
    .replace("federation.num-rounds=3", "federation.num-rounds=1")
    .replace('extractor="none"', 'extractor="random-vgg"')
)
SETTINGS = f'{FLOW} objective="flow-matching" local.learning-rate=0.05'


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    """Returns the directory of a run of a flow."""
    run = tmp_path_factory.mktemp("flow") / "run"
    assert main._run(["simulate", "--out", str(run), "-c", SETTINGS], debug=False) == 0
    return run


def images(run, out, *options, capsys):
    """Returns the images that ``fedgan generate`` makes, and what their file says of its origin."""
    assert fedgan("generate", run, "--num", 6, "--out", out, *options, capsys=capsys)[0] == 0
    return np.load(out)["images"], read(out)


def test_images_are_made_as_by_a_run_with_these_options_and_say_so(flow, tmp_path, capsys):
    plain, facts = images(flow, tmp_path / "plain.npz", capsys=capsys)
    assert "sampler" not in facts
    held, facts = images(flow, tmp_path / "held.npz", "--sampler", "guidance=3 steps=4", capsys=capsys)
    assert facts["sampler"] == "guidance=3 steps=4"
    assert not np.array_equal(plain, held)
    trained = load_trained(flow, sampling="guidance=3 steps=4")
    model = parse("model", MODELS, trained.config.model)
    assert (model.guidance, model.steps, model.solver, model.width) == (3, 4, "euler", 8)
    torch.manual_seed(0)
    noise, labels = torch.randn(2, *trained.generator.noise_shape), torch.tensor([0, 1])
    expected = model.sampler({"velocity": load_trained(flow).generator.network})(noise, labels)
    assert torch.equal(trained.generator(noise, labels), expected)


def test_scores_are_of_these_samples(flow, capsys):
    scores = []
    for options in ([], ["--sampler", "guidance=20"]):
        code, out, _ = fedgan("evaluate", flow, "--metrics", "fid", "--num", 100, "--json", *options, capsys=capsys)
        assert code == 0
        scores.append(json.loads(out))
    assert [score.get("sampler") for score in scores] == [None, "guidance=20"]
    assert scores[0]["scores"]["fid"] != scores[1]["scores"]["fid"]


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        ("width=16", "unet was trained with its width; known: steps, solver, guidance"),
        ("guidance=-1", "guidance='-1': Input should be greater than or equal to 0"),
        ("guidence=2", "no option 'guidence'; did you mean 'guidance'?"),
        ("2", "'2' is not of the form option=value"),
    ],
)
def test_other_options_are_refused(flow, sampling, words):
    with pytest.raises(ConfigError) as error:
        load_trained(flow, sampling=sampling)
    assert words in str(error.value)
    assert "--sampler" in str(error.value)


def test_models_without_such_options_say_so(tmp_path, capsys):
    assert fedgan("simulate", "--out", tmp_path / "run", "-c", TINY, capsys=capsys)[0] == 0
    code, _, err = fedgan("evaluate", tmp_path / "run", "--sampler", "steps=3", capsys=capsys)
    assert code == 2
    assert "--sampler 'steps=3': samples of the model mlp have no options: leave it out" in err
