"""Noise of a server that promises privacy of each client: what it follows from in a simulation."""

import torch

from common import wire
from common.config import RunConfig
from common.examples import ImageSpec
from server.private_rounds import PrivateRounds

CONFIG = RunConfig.from_flat({"privacy": "client epsilon=8 most-noise=1e6", "federation.fraction": 1.0})
ORIGIN = {"w": torch.zeros(50)}
UPDATES = {0: {"w": torch.full((50,), 0.01)}, 1: {"w": torch.full((50,), -0.02)}, 2: {"w": torch.ones(50)}}


def mean_of(*answered, round=1, start=ORIGIN):
    clients = {
        k: wire.RollCall(k, 3, 40, None, ImageSpec(1, 28, 1), ("all",), "", "f", noise=wire.SEED) for k in UPDATES
    }
    rounds = PrivateRounds(CONFIG, clients)
    return rounds.mean(0, round, start).of({k: UPDATES[k] for k in answered}, ORIGIN)["w"]


def test_is_the_same_for_the_same_round_and_another_for_every_other():
    assert torch.equal(mean_of(0, 1, 2), mean_of(2, 1, 0))
    assert not torch.equal(mean_of(0, 1, 2), mean_of(0, 1, 2, round=2))
    assert not torch.equal(mean_of(0, 1, 2), mean_of(0, 1, 2, start={"w": torch.ones(50)}))


def test_a_repeated_round_without_a_client_does_not_tell_its_update_by_subtraction():
    difference = (mean_of(0, 1, 2) - mean_of(0, 1)) * 3
    update = UPDATES[2]["w"] / UPDATES[2]["w"].norm()  # scaled down to the length 1
    assert float(difference.norm()) > 20 * float(update.norm())
