import pytest
import torch
import torch.nn.functional as F

from common import tree
from common.errors import ConfigError
from common.examples import ImageSpec, TextSpec
from common.models import MODELS, base
from common.models.dcgan import ImageToMap, MapToImage, MinibatchStd, ResizeConv2d
from common.seeding import torch_generator

VARIANTS = {
    "dcgan": [
        "",
        "norm=batch",
        "norm=none",
        "conditional=false",
        "width=8 latent-size=5",
        "spectral-norm=true",
        "minibatch-std=true",
        "resize-convolution=true",
        "norm=none resize-convolution=true",
    ],
    "mlp": ["", "conditional=false", "width=7 latent-size=3"],
    "vae": ["width=8", "width=4 norm=batch latent-size=3", "width=8 conditional=false"],
    "unet": ["width=8 steps=2", "width=8 steps=3 solver=euler guidance=2", "width=8 steps=2 conditional=false"],
    "transformer": ["width=8", "width=16 heads=1 layers=1 temperature=0.5 top-p=0.9", "width=8 conditional=false"],
    "lstm": ["width=8", "width=6 embedding=3 layers=1 temperature=0.5 top-p=0.9", "width=8 conditional=false"],
    "resnet": ["width=8", "width=8 norm=batch", "width=8 norm=none spectral-norm=true", "width=4 conditional=false"],
}
SPECS = [(name, options) for name in MODELS for options in VARIANTS.get(name, [""])]
SHAPES = [ImageSpec(1, 28, 10), ImageSpec(3, 32, 10), ImageSpec(3, 64, 4), ImageSpec(1, 28, 1)]
TEXTS = [TextSpec(9, 5, "abcdefgh", 10), TextSpec(12, 3, "", 10), TextSpec(5, 1, "xyz", 1)]
SHAPES_OF = {"images": SHAPES, "text": TEXTS}
MADE = [(name, options, spec) for name, options in SPECS for spec in SHAPES_OF[MODELS[name].kind]]

TRAINED = [name for name, kind in MODELS.items() if kind.fitting == "steps"]
"""All but counts, of which there are none before an example is counted."""

WITH_WEIGHTS = [(name, options) for name, options in SPECS if name in TRAINED]
ADVERSARIAL = [name for name, kind in MODELS.items() if kind.roles.adversaries]


def model_of(name, options):
    return MODELS[name].model_validate_strings(dict(word.split("=") for word in options.split()), by_alias=True)


def build(name, options, spec=None, seed=0):
    return model_of(name, options).build(spec or SHAPES_OF[MODELS[name].kind][0], seed)


def inputs(sampler, spec, num):
    generator = torch_generator(0, "test")
    noise = torch.randn(num, *sampler.noise_shape, generator=generator)
    return noise, torch.randint(spec.num_classes, (num,), generator=generator)


def stirred(networks):
    """Returns networks none of whose weights is zero, as those of some layers are at the start."""
    generator = torch_generator(1, "stirred")
    for parameter in networks.parameters():
        if not parameter.any():
            parameter.data.normal_(0.0, 0.05, generator=generator)
    return networks


@pytest.mark.parametrize(("name", "options", "spec"), MADE)
@pytest.mark.parametrize("num", [1, 3])
def test_the_sampler_makes_examples_and_the_adversary_judges_them(name, options, spec, num):
    model, networks = model_of(name, options), build(name, options, spec).eval()
    sampler = model.sampler(networks)
    noise, labels = inputs(sampler, spec, num)
    examples = sampler(noise, labels)
    assert examples.shape == (num, *spec.shape)
    assert sampler.spec == spec
    assert examples.dtype == (torch.float32 if model.kind == "images" else torch.int64)
    assert torch.isfinite(examples).all()
    assert examples.float().std() > 0
    assert spec.to_stored(examples).dtype == (torch.uint8 if model.kind == "images" else torch.int32)
    for adversary in model.roles.adversaries:
        logits = networks[adversary](examples, labels)
        assert logits.shape == (num,)
        assert torch.isfinite(logits).all()


@pytest.mark.parametrize(("name", "options"), WITH_WEIGHTS)
def test_roles_name_every_network_once_and_samples_depend_on_the_published_ones_alone(name, options):
    model, networks = model_of(name, options), stirred(build(name, options)).eval()
    assert sorted(model.roles.networks) == sorted(networks)
    sampler = model.sampler(networks)
    noise, labels = inputs(sampler, sampler.spec, 3)
    before = sampler(noise, labels)
    alone = sampler(noise[1:2], labels[1:2])
    torch.testing.assert_close(alone, before[1:2], rtol=0.0, atol=1e-4)  # tokens: the same ones
    for network in set(networks) - set(model.roles.published):
        for parameter in networks[network].parameters():
            parameter.data.add_(1.0)
    assert torch.equal(sampler(noise, labels), before)
    for network in model.roles.published:
        for parameter in networks[network].parameters():
            parameter.data.mul_(-0.5)
    assert not torch.equal(sampler(noise, labels), before)


@pytest.mark.parametrize(("name", "options"), WITH_WEIGHTS)
def test_weights_depend_on_the_seed_alone(name, options):
    torch.rand(7)  # whatever the global generator did before
    one, same, other = (tree.digest(build(name, options, seed=seed).state_dict()) for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize(("name", "options"), SPECS)
def test_every_weight_is_initialised_and_finite(name, options):
    for key, value in build(name, options).state_dict().items():
        assert value.device.type == "cpu", key
        assert torch.isfinite(value.float()).all(), key


@pytest.mark.parametrize("name", TRAINED)
def test_a_conditional_sampler_heeds_the_label_and_an_unconditional_one_does_not(name):
    for options, differs in (("", True), ("conditional=false", False)):
        sampler = model_of(name, options).sampler(stirred(build(name, options)).eval())
        noise, _ = inputs(sampler, sampler.spec, num := 2 if MODELS[name].kind == "images" else 50)
        zeros, ones = (sampler(noise, torch.full((num,), label)) for label in (0, 1))
        assert (not torch.equal(zeros, ones)) == differs


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_a_conditional_discriminator_learns_from_the_label(name):
    networks = build(name, "")
    latents, labels = inputs(networks["generator"], SHAPES[0], 4)
    images = networks["generator"](latents, labels).detach()
    networks["discriminator"](images, labels).sum().backward()
    rows = networks["discriminator"].projection.weight.grad.abs().sum(1)
    assert {int(row) for row in torch.nonzero(rows)} == set(labels.tolist())


def test_weights_start_as_in_the_dcgan_paper():
    for key, value in build("dcgan", "width=32").state_dict().items():
        if key.endswith("weight") and value.dim() >= 2 and "embedding" not in key and "projection" not in key:
            assert value.std().item() == pytest.approx(0.02, rel=0.1), key
            assert value.mean().item() == pytest.approx(0.0, abs=0.003), key


def test_image_layers_are_the_strided_convolutions_they_stand_for():
    generator = torch_generator(0, "test")
    images, maps = torch.randn(2, 3, 8, 8, generator=generator), torch.randn(2, 5, 4, 4, generator=generator)
    down = torch.randn(5, 3, 4, 4, generator=generator)
    layer = ImageToMap(3, 5)
    # kernel row 2a + i, column 2b + j is pixel (i, j) of block (a, b)
    blocks = down.reshape(5, 3, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(5, 12, 2, 2)
    layer.conv.weight.data = blocks
    layer.conv.bias.data.zero_()
    assert torch.allclose(layer(images), F.conv2d(images, down, stride=2, padding=1), atol=1e-4)
    up = torch.randn(5, 3, 4, 4, generator=generator)
    layer = MapToImage(5, 3)
    # a convolution looks back where a transposed one looks forward: blocks are flipped
    blocks = up.reshape(5, 3, 2, 2, 2, 2).flip(2, 4).permute(1, 3, 5, 0, 2, 4).reshape(12, 5, 2, 2)
    layer.conv.weight.data = blocks
    layer.conv.bias.data.zero_()
    assert torch.allclose(layer(maps), F.conv_transpose2d(maps, up, stride=2, padding=1), atol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
def test_a_resize_convolution_is_a_convolution_of_repeated_pixels(bias):
    layer = ResizeConv2d(5, 3, bias=bias)
    base.initialise(layer, torch_generator(0, "layer"))
    if bias:
        layer.conv.bias.data.copy_(torch.tensor([0.5, -1.0, 2.0]))
    maps = torch.randn(2, 5, 6, 6, generator=torch_generator(0, "maps"))
    repeated = maps.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(layer(maps), F.conv2d(repeated, layer.conv.weight, layer.conv.bias, padding=1))


def test_only_resize_convolutions_make_an_even_area_of_even_maps():
    spec = ImageSpec(3, 32, 10)
    uneven = {}
    for option in ("resize-convolution=true", ""):
        layers = build("dcgan", f"norm=none {option}", spec)["generator"].layers
        # Far from the edges, where paddings of zeros begin to tell.
        image = layers(torch.ones(1, 64, 16, 16))[0, :, 32:-32, 32:-32]
        uneven[option] = (image.amax((1, 2)) - image.amin((1, 2))).max().item()
    assert uneven["resize-convolution=true"] < 1e-5 * uneven[""]


def test_a_discriminator_is_shown_by_how_much_the_images_of_a_batch_differ():
    maps = torch.randn(5, 3, 2, 2, generator=torch_generator(0, "maps"))
    seen = MinibatchStd()(maps)
    assert seen.shape == (5, 4, 2, 2)
    assert torch.equal(seen[:, :3], maps)
    expected = maps.numpy().std(axis=0).mean()
    assert seen[:, 3].flatten().tolist() == pytest.approx([expected] * 20, rel=1e-5)
    assert MinibatchStd()(maps[:1])[0, 3].flatten().tolist() == pytest.approx([1e-4] * 4, rel=1e-5)


@pytest.mark.parametrize("option", ["", "minibatch-std=true"])
def test_only_with_minibatch_std_is_an_image_judged_by_the_others_of_its_batch(option):
    model = model_of("dcgan", option)
    networks = model.build(SHAPES[0], seed=0)
    images, labels = torch.randn(4, 1, 28, 28, generator=torch_generator(0, "images")), torch.arange(4)
    alike = images[:1].expand(4, -1, -1, -1)
    first = [networks["discriminator"](batch, labels)[0].item() for batch in (images, alike)]
    assert (first[0] != pytest.approx(first[1], rel=1e-4)) == model.judges_batches == bool(option)


def test_an_unfit_image_size_names_the_sizes_and_the_key():
    with pytest.raises(ConfigError, match=r"28x28, 32x32, 64x64.*48x48.*data\.image-size"):
        build("dcgan", "", ImageSpec(1, 48, 10))


def test_group_norm_leaves_no_statistics_in_the_weights():
    assert not list(build("dcgan", "norm=group").buffers())
    assert list(build("dcgan", "norm=batch").buffers())


def test_a_residual_discriminator_has_no_normalisation_and_a_generator_no_statistics():
    networks = build("resnet", "width=8")
    assert not any(isinstance(m, torch.nn.GroupNorm) for m in networks["discriminator"].modules())
    assert any(isinstance(m, torch.nn.GroupNorm) for m in networks["generator"].modules())
    assert not list(networks.buffers())
    assert list(build("resnet", "width=8 norm=batch")["generator"].buffers())


@pytest.mark.parametrize(("spec", "ups", "downs"), [(SHAPES[0], 2, 4), (SHAPES[1], 3, 4), (SHAPES[2], 4, 5)])
def test_residual_networks_are_as_deep_as_the_images_are_large(spec, ups, downs):
    networks = build("resnet", "width=4", spec)
    assert len(networks["generator"].blocks) == ups
    maps = torch.zeros(1, spec.channels, spec.size, spec.size)
    sides = [(maps := block(maps)).shape[-1] for block in networks["discriminator"].blocks]
    assert len(sides) == downs
    assert sides[-3:] == [spec.size // 2 ** (downs - 2)] * 3


def test_residual_blocks_are_two_convolutions_beside_a_shortcut_as_in_the_paper():
    """The block as it is written there: resampling before the shortcut's convolution going up, after it going down."""
    maps = torch.randn(2, 4, 8, 8, generator=torch_generator(0, "maps"))
    networks = build("resnet", "width=4 norm=none", SHAPES[1])
    up, down = networks["generator"].blocks[0], networks["discriminator"].blocks[1]
    upper = up.second(up.first(F.relu(maps).repeat_interleave(2, 2).repeat_interleave(2, 3)).relu())
    expected = upper + up.shortcut(maps.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert torch.allclose(up(maps), expected, atol=1e-5)
    lower = F.avg_pool2d(down.second(down.first(maps.relu()).relu()), 2)
    assert torch.allclose(down(maps), lower + F.avg_pool2d(down.shortcut(maps), 2), atol=1e-5)
    images = torch.randn(2, 3, 32, 32, generator=torch_generator(0, "images"))
    first = networks["discriminator"].blocks[0]
    seen = F.avg_pool2d(first.second(first.first(images).relu()) + first.shortcut(images), 2)
    assert torch.allclose(first(images), seen, atol=1e-5)


class OwnRule(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.positions = torch.nn.Parameter(torch.empty(3, 4))
        self.register_buffer("mask", torch.empty(3, dtype=torch.bool))
        self.norms = torch.nn.ModuleList([torch.nn.LayerNorm(4), torch.nn.RMSNorm(4), torch.nn.BatchNorm1d(4)])
        self.inner = torch.nn.Conv1d(4, 2, 3)

    def init_weights(self, generator):
        self.positions.normal_(0.0, 0.5, generator=generator)
        self.mask.fill_(True)


def test_a_module_says_by_which_rule_its_weights_start():
    def made(seed):
        with torch.device("meta"):
            network = OwnRule()
        base.materialise(network)
        base.initialise(network, torch_generator(seed, "weights"))
        return network

    network, same, other = made(0), made(0), made(1)
    assert tree.digest(network.state_dict()) == tree.digest(same.state_dict()) != tree.digest(other.state_dict())
    assert network.mask.all()
    assert 0.1 < network.positions.std() < 1.0
    assert network.inner.weight.std() > 0
    for norm in network.norms:
        assert torch.equal(norm.weight, torch.ones(4))
    assert torch.equal(network.norms[2].running_var, torch.ones(4))


def test_a_module_without_a_rule_is_named_with_the_way_out():
    with pytest.raises(TypeError, match=r"no rule to initialise PReLU: give it a method init_weights\(generator\)"):
        base.initialise(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.PReLU()), torch_generator(0, "weights"))
