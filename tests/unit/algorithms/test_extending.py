"""The algorithm in docs/extending.md works as printed, and does what it says."""

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

sys.path.insert(0, str(Path(__file__).parent))
from training import one_round, trainer_of

from common import tree
from common.algorithms import LocalTrainer, Memory, Payload, Reply
from common.algorithms.fedavg import FedAvg
from common.tree import distance, interpolate

TEXT = (Path(__file__).parents[3] / "docs" / "extending.md").read_text()


@pytest.fixture(scope="module")
def clipped():
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "class Clipped" in b]
    uses = (Field, FedAvg, LocalTrainer, Payload, Reply, replace, distance, interpolate)
    scope = {thing.__name__: thing for thing in uses}
    scope |= {"ClassVar": ClassVar, "Memory": Memory, "__name__": "common.algorithms.clipped"}
    exec(block, scope)
    return scope["Clipped"]


def trained(algorithm):
    state = algorithm.init(trainer_of().initial())
    (reply,) = one_round(algorithm, state, {0: {}})
    return tree.distance(reply.arrays, state.parameters), reply.arrays


@pytest.mark.parametrize("sync", ["both", "generator", "discriminator"])
def test_a_high_limit_is_fedavg_and_a_low_one_shortens_the_update_and_keeps_its_direction(clipped, sync):
    (length, plain), (_, free) = trained(FedAvg(sync=sync)), trained(clipped(sync=sync, limit=1e6))
    assert tree.digest(free) == tree.digest(plain)
    short, cut = trained(clipped(sync=sync, limit=length / 4))
    assert short == pytest.approx(length / 4, rel=1e-4)
    start = FedAvg(sync=sync).init(trainer_of().initial()).parameters
    assert tree.distance(cut, interpolate(start, plain, keep=0.75)) < 1e-4 * length
