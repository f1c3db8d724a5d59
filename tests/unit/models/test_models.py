import pytest
import torch

from common import tree
from common.datasets.base import ImageShape
from common.errors import ConfigError
from common.models import MODELS
from common.seeding import torch_generator

VARIANTS = {
    "dcgan": ["", "norm=batch", "norm=none", "conditional=false", "width=8 latent-size=5"],
    "mlp": ["", "conditional=false", "width=7 latent-size=3"],
}
SPECS = [(name, options) for name in MODELS for options in VARIANTS.get(name, [""])]
SHAPES = [ImageShape(1, 28, 10), ImageShape(3, 32, 10), ImageShape(3, 64, 4), ImageShape(1, 28, 1)]


def build(name, options, shape=SHAPES[0], seed=0):
    values = dict(word.split("=") for word in options.split())
    return MODELS[name].model_validate_strings(values, by_alias=True).build(shape, seed)


def inputs(networks, shape, num):
    generator = torch_generator(0, "test")
    latents = torch.randn(num, networks["generator"].latent_size, generator=generator)
    return latents, torch.randint(shape.num_classes, (num,), generator=generator)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("name", "options"), SPECS)
@pytest.mark.parametrize("num", [1, 3])
def test_generator_makes_images_and_discriminator_judges_them(name, options, shape, num):
    networks = build(name, options, shape).eval()
    latents, labels = inputs(networks, shape, num)
    images = networks["generator"](latents, labels)
    assert images.shape == (num, shape.channels, shape.size, shape.size)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1
    assert images.std() > 0.01
    logits = networks["discriminator"](images, labels)
    assert logits.shape == (num,)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize(("name", "options"), SPECS)
def test_weights_depend_on_the_seed_alone(name, options):
    torch.rand(7)  # whatever the global generator did before
    one, same, other = (tree.digest(build(name, options, seed=seed).state_dict()) for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize(("name", "options"), SPECS)
def test_every_weight_is_initialised_and_finite(name, options):
    for key, value in build(name, options).state_dict().items():
        assert value.device.type == "cpu", key
        assert torch.isfinite(value.float()).all(), key


@pytest.mark.parametrize("name", MODELS)
def test_a_conditional_generator_heeds_the_label_and_an_unconditional_one_does_not(name):
    for options, differs in (("", True), ("conditional=false", False)):
        networks = build(name, options).eval()
        latents, _ = inputs(networks, SHAPES[0], 2)
        zeros, ones = (networks["generator"](latents, torch.full((2,), label)) for label in (0, 1))
        assert (not torch.equal(zeros, ones)) == differs


@pytest.mark.parametrize("name", MODELS)
def test_a_conditional_discriminator_learns_from_the_label(name):
    networks = build(name, "")
    latents, labels = inputs(networks, SHAPES[0], 4)
    images = networks["generator"](latents, labels).detach()
    networks["discriminator"](images, labels).sum().backward()
    rows = networks["discriminator"].projection.weight.grad.abs().sum(1)
    assert {int(row) for row in torch.nonzero(rows)} == set(labels.tolist())


def test_hidden_signals_keep_their_scale_through_the_dcgan():
    networks = build("dcgan", "norm=none width=32", ImageShape(3, 64, 10))
    latents, labels = inputs(networks, ImageShape(3, 64, 10), 64)
    logits = networks["discriminator"](networks["generator"](latents, labels), labels)
    assert 0.02 < logits.std() < 5


def test_an_unfit_image_size_names_the_sizes_and_the_key():
    with pytest.raises(ConfigError, match=r"28x28, 32x32, 64x64.*48x48.*data\.image-size"):
        build("dcgan", "", ImageShape(1, 48, 10))


def test_group_norm_leaves_no_statistics_in_the_weights():
    assert not list(build("dcgan", "norm=group").buffers())
    assert list(build("dcgan", "norm=batch").buffers())
