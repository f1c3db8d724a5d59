"""FedOpt: the server's optimizers against the algorithm in NumPy and torch's own, on parameters only."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from training import MODEL, SPEC, one_round, trainer_of

from common import tree
from common.algorithms import Reply
from common.algorithms.fedavg import FedAvg
from common.algorithms.fedopt import FIRST, SECOND, FedOpt
from common.models import MODELS, Model
from common.models.base import ADVERSARIAL
from tests.unit.common.algorithms.training import make_context

START = torch.tensor([1.0, -2.0, 0.5, 0.0])
DELTAS = torch.tensor([[0.1, -0.3, 0.0, 1e-5], [-0.2, -0.1, 0.05, 2.0], [0.1, 0.4, -0.7, -2.0]])


class Vector(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.empty(4))


class VectorModel(Model):
    """One vector."""

    roles = ADVERSARIAL

    def networks(self, spec):
        return {"generator": Vector()}


CONTEXT = make_context(model=VectorModel())


def path_of(algorithm):
    """Returns the weights after each round in which two clients' updates have the means DELTAS (weights 1 and 3)."""
    state, weights = algorithm.init({"generator.w": START}, ADVERSARIAL), []
    for delta in DELTAS:
        here = state.parameters["generator.w"]
        replies = [Reply(0, 1, {"generator.w": here - 2 * delta}), Reply(1, 3, {"generator.w": here + 2 * delta})]
        state = algorithm.update(state, replies, CONTEXT)
        weights.append(state.parameters["generator.w"].numpy())
    return weights, state


@pytest.mark.parametrize("optimizer", ["adam", "yogi"])
def test_adam_and_yogi_follow_algorithm_2(optimizer):
    lr, beta1, beta2, tau = 0.3, 0.8, 0.9, 0.05
    x, m, v = START.numpy().astype(float), np.zeros(4), np.full(4, tau**2)
    found, state = path_of(FedOpt(optimizer=optimizer, lr=lr, beta1=beta1, beta2=beta2, tau=tau))
    for delta, weights in zip(DELTAS.numpy().astype(float), found, strict=True):
        m = beta1 * m + (1 - beta1) * delta
        if optimizer == "adam":
            v = beta2 * v + (1 - beta2) * delta**2
        else:
            v = v - (1 - beta2) * delta**2 * np.sign(v - delta**2)
        x = x + lr * m / (np.sqrt(v) + tau)
        np.testing.assert_allclose(weights, x, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state.slots[SECOND]["generator.w"], v, rtol=1e-5)


def test_momentum_is_torchs_sgd_on_the_negative_mean_update():
    parameter = nn.Parameter(START.clone())
    sgd = torch.optim.SGD([parameter], lr=0.7, momentum=0.6)
    found, state = path_of(FedOpt(optimizer="momentum", lr=0.7, beta1=0.6))
    for delta, weights in zip(DELTAS, found, strict=True):
        parameter.grad = -delta
        sgd.step()
        torch.testing.assert_close(torch.from_numpy(weights), parameter.detach(), rtol=1e-5, atol=1e-6)
    assert list(state.slots) == [FIRST]


@pytest.mark.parametrize("optimizer", ["momentum", "adam", "yogi"])
def test_the_first_step_goes_where_the_clients_went(optimizer):
    (after, *_), _ = path_of(FedOpt(optimizer=optimizer, lr=0.1))
    assert np.sign(after - START.numpy())[:3].tolist() == np.sign(DELTAS[0].numpy())[:3].tolist() == [1, -1, 0]


def test_lr_1_and_momentum_0_are_fedavg_to_the_bit():
    ends = []
    for algorithm in (FedAvg(), FedOpt(optimizer="momentum", lr=1, beta1=0)):
        context, memories = make_context(model=MODEL), {0: {}, 3: {}, 5: {}}
        state = algorithm.init(trainer_of().initial(), ADVERSARIAL)
        for _ in range(3):
            state = algorithm.update(state, one_round(algorithm, state, memories), context)
        ends.append(tree.digest(state.parameters) + tree.digest(state.average))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("optimizer", ["momentum", "adam", "yogi"])
def test_buffers_are_averaged_and_never_stepped(optimizer):
    model = MODELS["dcgan"](width=4, norm="batch")
    context = make_context(model=model, spec=SPEC)
    initial = model.build(SPEC, 0).state_dict()
    algorithm = FedOpt(optimizer=optimizer, lr=5.0)
    state = algorithm.init(initial, ADVERSARIAL)
    trained = {k: v + 0.01 if v.is_floating_point() else v + 7 for k, v in initial.items()}
    for _ in range(2):
        state = algorithm.update(state, [Reply(k, 1, trained) for k in range(2)], context)
    buffers = {key for key in initial if "running" in key or "num_batches" in key}
    assert buffers
    for key in initial:
        assert torch.equal(state.parameters[key], trained[key]) == (key in buffers), key
    assert state.slots[FIRST].keys() == initial.keys() - buffers


def test_the_other_network_stays_with_its_client_under_sync():
    algorithm = FedOpt(sync="generator")
    state = algorithm.init(trainer_of().initial(), ADVERSARIAL)
    memories = {0: {}, 1: {}}
    state = algorithm.update(state, one_round(algorithm, state, memories), make_context(model=MODEL))
    assert tree.networks_of(state.parameters) == tree.networks_of(state.slots[FIRST]) == ("generator",)
    assert tree.networks_of(memories[0]["personal"]) == ("discriminator",)
