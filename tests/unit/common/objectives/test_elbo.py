"""The evidence lower bound: its terms by hand, and that each network learns from it."""

import math

import pytest
import torch
from torch import nn

from common.components import parse
from common.config import RunConfig
from common.errors import ConfigError
from common.objectives import OBJECTIVES, Batch
from common.objectives.elbo import ELBO, kl_to_standard_normal
from common.seeding import torch_generator


def test_the_divergence_is_that_of_two_gaussians():
    means, log_variances = torch.tensor([[0.0, 0.0], [1.0, -2.0]]), torch.tensor([[0.0, 0.0], [0.0, math.log(4.0)]])
    # by hand: 1/2 (1 + 1 - 1 - 0) = 1/2, and 1/2 (4 + 4 - 1 - log 4) = 3.5 - log 2
    expected = [0.0, 0.5 + 3.5 - math.log(2.0)]
    assert kl_to_standard_normal(means, log_variances).tolist() == pytest.approx(expected, abs=1e-6)


def test_the_divergence_is_what_samples_tell_it_to_be():
    mean, log_variance = torch.tensor([[0.7]]), torch.tensor([[-0.9]])
    here = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    drawn = mean + (0.5 * log_variance).exp() * torch.randn(200_000, 1, generator=torch_generator(0, "kl"))
    reported = (here.log_prob(drawn) - torch.distributions.Normal(0.0, 1.0).log_prob(drawn)).mean()
    assert kl_to_standard_normal(mean, log_variance).item() == pytest.approx(reported.item(), abs=0.01)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_the_reconstruction_is_the_pixels_own_log_likelihood(likelihood):
    objective = ELBO(likelihood=likelihood, scale=0.5)
    images, found = torch.tensor([[[[1.0, -1.0]]]]), torch.tensor([[[[0.5, 0.0]]]])
    if likelihood == "bernoulli":  # chances of white .75 and .5, pixels white and black
        expected = -math.log(0.75) - math.log(0.5)
    else:
        normal = [(1.0 - 0.5) ** 2, (-1.0 - 0.0) ** 2]
        expected = sum(0.5 * each / 0.25 + 0.5 * math.log(2 * math.pi * 0.25) for each in normal)
    assert objective.reconstruction(images, found).tolist() == pytest.approx([expected], abs=1e-5)
    better = objective.reconstruction(images, images * 0.99)
    assert better.item() < expected


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.moments = nn.Parameter(torch.tensor([[0.5, -0.5, 0.1, 0.2]]))

    def forward(self, images, labels):
        return self.moments.expand(len(images), 4)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[0.3, 0.1, -0.2, 0.4], [0.2, -0.1, 0.3, 0.1]]))

    def forward(self, latents, labels):
        return torch.tanh(latents @ self.weight).view(-1, 1, 2, 2)


def batch():
    generator = torch_generator(0, "batch")
    images = torch.rand(5, 1, 2, 2, generator=generator) * 2 - 1
    draws = {"noise": torch.randn(5, 2, generator=generator)}
    return Batch(images, torch.zeros(5, dtype=torch.int64), draws, generator)


def test_the_loss_is_reconstruction_and_beta_times_divergence_of_latents_by_reparametrisation():
    networks, given = {"encoder": Encoder(), "decoder": Decoder()}, batch()
    (phase,) = ELBO(beta=3.0).phases()
    loss, watched = phase.loss(networks, given)
    moments = networks["encoder"].moments[0]
    latents = moments[:2] + (moments[2:] / 2).exp() * given.draws["noise"]
    reconstruction = ELBO().reconstruction(given.examples, networks["decoder"](latents, None)).mean()
    divergence = kl_to_standard_normal(moments[None, :2], moments[None, 2:]).item()
    assert loss.item() == pytest.approx(reconstruction.item() + 3.0 * divergence, rel=1e-5)
    assert watched["reconstruction"].item() == pytest.approx(reconstruction.item(), rel=1e-5)
    assert watched["kl"].item() == pytest.approx(divergence, rel=1e-5)
    loss.backward()
    assert all(p.grad.abs().min() > 0 for network in networks.values() for p in network.parameters())


def test_a_model_without_an_encoder_is_refused_in_one_line():
    words = (
        "objective='elbo' trains encoder and decoder; model='dcgan' has generator.*take objective=.*, or model='vae'"
    )
    with pytest.raises(ConfigError, match=words):
        RunConfig.from_flat({"objective": "elbo"})
    with pytest.raises(ConfigError, match="take objective='elbo', or model='dcgan' or 'mlp'"):
        RunConfig.from_flat({"model": "vae"})


@pytest.mark.parametrize(
    ("algorithm", "words"),
    [("md-gan", "has no generator and discriminator"), ("fedavg sync=discriminator", "no discriminator to average")],
)
def test_what_makes_no_sense_for_a_family_is_refused_in_one_line(algorithm, words):
    with pytest.raises(ConfigError, match=words):
        RunConfig.from_flat({"objective": "elbo", "model": "vae", "algorithm": algorithm})


def test_options_are_read_back():
    objective = parse("objective", OBJECTIVES, "elbo beta=0.5 likelihood=gaussian scale=0.2")
    assert parse("objective", OBJECTIVES, objective.spec()) == objective
