"""Reconstructions: the decoder at the mean of what the encoder says, of networks that are there."""

import pytest
import torch

from common.examples import ImageSpec
from common.examples.images import denormalise, normalise
from common.models import MODELS
from common.reconstruction import missing_networks, reconstruct
from tests.unit.kinds import spec_of

SPEC = ImageSpec(1, 28, 3)
MODEL = MODELS["vae"](width=4, latent_size=2)
IMAGES = torch.randint(256, (5, 1, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
LABELS = torch.tensor([0, 1, 2, 0, 1])


def weights():
    return {key: value.clone() for key, value in MODEL.build(SPEC, 1).state_dict().items()}


def test_it_is_what_the_decoder_makes_of_the_encoders_means_whatever_the_variances():
    networks = MODEL.build(SPEC, 1).eval()
    with torch.no_grad():
        means = networks["encoder"](normalise(IMAGES), LABELS)[:, :2]
        expected = denormalise(networks["decoder"](means, LABELS))
    changed = weights()
    changed["encoder.moments.bias"][2:] += 3.0  # of the log-variances
    for tree in (weights(), changed):
        assert torch.equal(reconstruct(MODEL, SPEC, tree, IMAGES, LABELS), expected)
    changed["encoder.moments.bias"][:2] += 3.0
    assert not torch.equal(reconstruct(MODEL, SPEC, changed, IMAGES, LABELS), expected)


def test_what_is_not_finite_is_none():
    broken = weights()
    broken["encoder.moments.bias"] = torch.full_like(broken["encoder.moments.bias"], torch.nan)
    assert reconstruct(MODEL, SPEC, broken, IMAGES, LABELS) is None


def test_it_says_which_networks_are_missing():
    assert missing_networks(MODEL, weights()) == []
    assert missing_networks(MODEL, {key: 0 for key in weights() if key.startswith("decoder.")}) == ["encoder"]
    assert missing_networks(MODELS["dcgan"](), {}) == []


@pytest.mark.parametrize("name", MODELS)
def test_every_family_says_truly_whether_it_reconstructs(name):
    model = MODELS[name]()
    networks = model.build(spec_of(name), 0)
    if not model.reconstructs_with:
        with pytest.raises(NotImplementedError, match="names no networks"):
            model.reconstructor(networks)
        return
    assert set(model.reconstructs_with) <= set(model.roles.networks)
    only = {key: networks[key] for key in model.reconstructs_with}  # the others are not needed
    assert model.reconstructor(only)(normalise(IMAGES), LABELS).shape == IMAGES.shape
