"""FedProx: the proximal term has the gradient that it should have, and holds clients back."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from training import one_round, trainer_of

from common import tree
from common.algorithms import Payload
from common.algorithms.fedavg import FedAvg
from common.algorithms.fedprox import FedProx
from common.models.base import ADVERSARIAL


class Network(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w))
        self.register_buffer("running_mean", torch.ones(1))


class Recorder:
    """A trainer that hands out its networks instead of training them."""

    def __init__(self, **networks):
        self.networks = {name: Network(w) for name, w in networks.items()}
        self.losses = {}

    def fit(self, *, extra_loss):
        for name, network in self.networks.items():
            self.losses[name] = extra_loss(name, network)
        return {}


def test_the_gradient_is_mu_times_the_difference_with_its_sign():
    received = {"generator.w": torch.tensor([1.0, 1.0, 1.0]), "generator.running_mean": torch.tensor([9.0])}
    trainer = Recorder(generator=[3.0, 1.0, -1.5])
    FedProx(mu=0.5).fit(Payload(received), trainer)
    loss = trainer.losses["generator"]
    assert loss.item() == pytest.approx(0.5 * 0.5 * (4 + 0 + 6.25))  # squared, and of no buffer
    loss.backward()
    assert trainer.networks["generator"].w.grad.tolist() == pytest.approx([1.0, 0.0, -1.25])


def test_each_network_is_held_to_its_own_weights_and_one_that_received_none_to_nothing():
    received = {"generator.w": torch.tensor([1.0]), "other.w": torch.tensor([-1.0])}
    trainer = Recorder(generator=[2.0], other=[2.0], discriminator=[5.0])
    FedProx(mu=2).fit(Payload(received), trainer)
    assert {name: loss.item() for name, loss in trainer.losses.items()} == {
        "generator": 1.0,
        "other": 9.0,
        "discriminator": 0.0,
    }


def trained(algorithm):
    state = algorithm.init(trainer_of().initial(), ADVERSARIAL)
    (reply,) = one_round(algorithm, state, {0: {}})
    return tree.distance(reply.arrays, state.parameters), tree.digest(reply.arrays)


@pytest.mark.parametrize("sync", ["both", "generator", "discriminator"])
def test_mu_zero_is_fedavg_to_the_bit_and_more_mu_stays_closer(sync):
    plain = trained(FedAvg(sync=sync))
    none, some, much = (trained(FedProx(mu=mu, sync=sync)) for mu in (0.0, 3.0, 300.0))
    assert none[1] == plain[1]
    assert much[0] < some[0] < plain[0]
