"""The algorithm in docs/extending.md works as printed, and does what it says."""

import re
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

from client.trainer import Assignment, Trainer
from common import tree
from common.algorithms import Federation, LocalTrainer, Payload
from common.algorithms.fedavg import FedAvg
from common.datasets.base import ImageSet, ImageShape
from common.local import LocalConfig
from common.models import MODELS
from common.objectives import OBJECTIVES

TEXT = (Path(__file__).parents[3] / "docs" / "extending.md").read_text()


@pytest.fixture(scope="module")
def fedprox():
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "class FedProx" in b]
    scope = {
        "ClassVar": ClassVar,
        "Field": Field,
        "FedAvg": FedAvg,
        "LocalTrainer": LocalTrainer,
        "Payload": Payload,
        "Tensor": Tensor,
        "nn": nn,
        "torch": torch,
        "__name__": "common.algorithms.fedprox",
    }
    exec(block, scope)
    return scope["FedProx"]


def trained(algorithm, sync="both"):
    local = LocalConfig(steps=4, batch_size=8)
    shape = ImageShape(1, 28, 10)
    trainer = Trainer(MODELS["mlp"](width=16), OBJECTIVES["non-saturating"](), shape, local, 0, torch.device("cpu"))
    images = ImageSet(torch.zeros(9, 1, 28, 28, dtype=torch.uint8), torch.zeros(9, dtype=torch.int64))
    trainer.assign(Assignment(images, 0, 0, 1), None)
    state = algorithm.init(trainer.initial())
    payload = algorithm.broadcast(state, [0], Federation())[0]
    reply = algorithm.run(payload, trainer, {}, 0)
    return tree.distance(reply.arrays, payload.arrays), tree.digest(reply.arrays)


@pytest.mark.parametrize("sync", ["both", "generator", "discriminator"])
def test_mu_zero_is_fedavg_and_more_mu_stays_closer(fedprox, sync):
    plain, none, some, much = (
        trained(FedAvg(sync=sync)),
        *(trained(fedprox(mu=mu, sync=sync)) for mu in (0.0, 3.0, 300.0)),
    )
    assert none[1] == plain[1]
    assert much[0] < some[0] < plain[0]
