"""Spectral normalisation is exact, differentiable, and keeps nothing."""

import pytest
import torch
from torch import nn

from common.examples import ImageSpec
from common.models import MODELS
from common.models.spectral import SpectralZeroEmbedding, spectral_norm
from common.seeding import torch_generator

SPEC = ImageSpec(3, 32, 4)
NAMES = ["dcgan", "resnet"]


def normal(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch_generator(0, "weights"), dtype=dtype)


def discriminator(name, **options):
    return MODELS[name](width=8, spectral_norm=True, **options).build(SPEC, 0)["discriminator"]


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (6, 2, 4, 4), (1, 9), (9, 1), (1, 1)])
def test_the_norm_is_the_largest_singular_value(shape):
    weight = normal(*shape)
    exact = torch.linalg.svdvals(weight.double().flatten(1))[0]
    assert spectral_norm(weight).item() == pytest.approx(exact.item(), rel=1e-6)


def test_the_norm_of_a_known_matrix():
    # columns (3, 0) and (4, 5): W W^T = [[25, 20], [20, 25]] with eigenvalues 45 and 5
    assert spectral_norm(torch.tensor([[3.0, 4.0], [0.0, 5.0]])).item() == pytest.approx(45**0.5, rel=1e-6)


@pytest.mark.parametrize("shape", [(4, 3), (3, 2, 2, 2), (1, 5)])
def test_the_gradient_is_that_of_the_singular_value(shape):
    weight = normal(*shape, dtype=torch.float64).requires_grad_(True)
    assert torch.autograd.gradcheck(spectral_norm, (weight,))


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_of_the_discriminator_stretches_its_input_by_1_at_most(name):
    layers = [
        layer for layer in discriminator(name).modules() if isinstance(layer, nn.Conv2d | nn.Linear | nn.GroupNorm)
    ]
    assert len(layers) > 3
    for layer in layers:
        patch = layer.weight.shape[1:]
        layer.padding = (0, 0)
        basis = torch.eye(patch.numel()).view(-1, *patch)
        effective = layer(basis).flatten(1) - layer.bias
        assert torch.linalg.svdvals(effective.detach())[0].item() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_logits_do_not_depend_on_the_scale_of_a_weight(name):
    network, images, labels = discriminator(name), normal(3, 3, 32, 32), torch.tensor([0, 3, 1])
    before = network(images, labels)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.weight.mul_(7.0)
    assert torch.allclose(network(images, labels), before, atol=1e-5)


def test_a_table_that_starts_at_zero_stays_finite_and_learns_and_is_held_at_1():
    table = SpectralZeroEmbedding(4, 3)
    nn.init.zeros_(table.weight)
    got = table(torch.tensor([0, 2]))
    got.sum().backward()
    assert torch.equal(got, torch.zeros(2, 3))
    assert torch.equal(table.weight.grad, torch.tensor([[1.0] * 3, [0.0] * 3, [1.0] * 3, [0.0] * 3]))
    with torch.no_grad():
        table.weight.copy_(10 * normal(4, 3))
    assert spectral_norm(table(torch.arange(4))).item() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_kept_beside_the_weights(name):
    plain = MODELS[name](width=8, norm="none").build(SPEC, 0)["discriminator"].state_dict()
    network = discriminator(name)
    network(normal(2, 3, 32, 32), torch.tensor([0, 1]))
    assert {key: value.shape for key, value in network.state_dict().items()} == {k: v.shape for k, v in plain.items()}
    assert not list(network.buffers())


@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_penalty_passes_through(name):
    network, labels = discriminator(name), torch.tensor([0, 1])
    images = normal(2, 3, 32, 32).requires_grad_(True)
    (slope,) = torch.autograd.grad(network(images, labels).sum(), images, create_graph=True)
    slope.square().sum().backward()
    assert all(bool(torch.isfinite(w.grad).all()) for w in network.parameters() if w.grad is not None)
    assert network.logit.weight.grad.abs().max() > 0


def test_layers_of_zeros_stay_finite():
    zeroed = discriminator("dcgan")
    for parameter in zeroed.parameters():
        parameter.data.zero_()
    logits = zeroed(torch.rand(3, SPEC.channels, SPEC.size, SPEC.size), torch.arange(3))
    assert logits.tolist() == [0.0, 0.0, 0.0]
