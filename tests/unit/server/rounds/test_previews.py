"""What is drawn of a run's state: samples, and reconstructions where the server has all that they take."""

import dataclasses
import json
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from common import provenance, tree
from common.algorithms import ServerState
from common.config import RunConfig
from common.examples import ImageSet, ImageSpec
from server.records.run_directory import RunDirectory
from server.rounds.previews import DrawSamples

SPEC = ImageSpec(1, 28, 3)
HELD_OUT = ImageSet(torch.full((6, 1, 28, 28), 9, dtype=torch.uint8), torch.tensor([0, 1, 2, 0, 1, 2]))
VAE = {"model": "vae width=4 latent-size=2", "objective": "elbo"}


@pytest.fixture
def drawing(tmp_path):
    """Returns a function that draws a state, and returns the run directory."""

    def draw(settings, state_of=lambda state: state, held_out=HELD_OUT):
        config = RunConfig.from_flat(settings)
        directory = RunDirectory(tmp_path / "run")
        directory.create()
        model = config.model_component
        state = config.algorithm_component.init(model.build(SPEC, 0).state_dict(), model.roles)
        roster = SimpleNamespace(spec=SPEC, held=(0, 1, 2), class_names=("a", "b", "c"))
        DrawSamples(config, roster, directory, held_out).draw(state_of(dataclasses.replace(state, round=4)))
        assert directory.sample(4).exists()
        return directory

    return draw


def test_reconstructions_are_of_the_shared_weights_and_say_what_they_are(drawing):
    run = drawing(VAE)
    with Image.open(run.reconstructions) as picture:
        assert picture.size == (6 * 30 + 2, 2 * 30 + 2)
        assert picture.getpixel((16, 16)) == 9
        reported = json.loads(picture.text[provenance.KEY])
    assert reported["round"] == 4
    assert "synthetic" not in reported  # half of it is real
    first = run.reconstructions.read_bytes()

    def moved(state):
        return dataclasses.replace(state, average={key: value + 1 for key, value in state.average.items()})

    assert drawing(VAE, moved).reconstructions.read_bytes() == first
    run.clear()
    assert not run.reconstructions.exists()


@pytest.mark.parametrize(
    ("settings", "held_out"),
    [
        (VAE, None),
        (VAE | {"algorithm": "fedavg sync=generator"}, HELD_OUT),
        ({"model": "mlp width=8 latent-size=2"}, HELD_OUT),
        ({"model": "unet width=8 steps=1", "objective": "flow-matching"}, HELD_OUT),
    ],
)
def test_without_data_without_an_encoder_and_for_other_families_there_are_none(drawing, settings, held_out):
    assert not drawing(settings, held_out=held_out).reconstructions.exists()


def test_reconstructions_that_are_not_finite_are_said_and_end_nothing(drawing, caplog):
    def broken(state: ServerState) -> ServerState:
        encoder = tree.select(state.parameters, ["encoder"])
        return dataclasses.replace(
            state, parameters={**state.parameters, **{k: v * torch.nan for k, v in encoder.items()}}
        )

    assert not drawing(VAE, broken).reconstructions.exists()
    assert "round 4: the reconstructions of held-out images are not finite" in caplog.text
