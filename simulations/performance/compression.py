"""What ``transforms="compress"`` saves, and what it costs."""

import functools
import math

import torch

from client import data
from client.batches import Assignment
from client.site import Site
from client.trainer import Trainer
from client.trainer_spec import TrainerSpec
from common import wire
from common.config import RunConfig
from common.transforms.compress import Compress
from common.tree import FrozenTree, Tree, clone
from simulations.performance.figures import Figure, Measured, Plan, clock
from simulations.performance.loops import PLAIN

_SECONDS = 0.1


def compression(plan: Plan) -> Measured:
    """A client's reply with ``transforms="compress"``: its bytes, the client's and the server's time, and the error.

    Of the default model and one round of the default federation. Whole replies are 1; the error is what a reply leaves
    unsent, over the length of the update, in the first round.
    """
    config = PLAIN.replaced({"local.steps": 1} if plan.quick else {})
    trainer = _trainer_of(config)
    received = FrozenTree(clone(trainer.initial()))
    trainer.load(received)
    trainer.fit()
    trained = FrozenTree(trainer.parameters())
    whole = wire.encode_tree(trained).count_bytes()
    yield Figure(key="mb-none", what="a reply as it is", values=(whole / 1e6,), unit="MB")
    for step in (Compress(to="float16"), Compress(to="int8")):
        kind = step.to
        sent, left = step.encode(trained, received, {})
        size = wire.encode_tree(sent).count_bytes()
        yield Figure(key=f"mb-{kind}", what=f"a reply in {kind}", values=(size / 1e6,), unit="MB")
        yield Figure(key=f"share-{kind}", what="of those of a whole one", values=(size / whole,))
        error = _length(left) / _length({key: trained[key] - received[key] for key in left})
        yield Figure(key=f"error-{kind}", what="left unsent, of an update", values=(100 * error,), unit="%")
        for key, call in (
            ("client", functools.partial(step.encode, trained, received, left)),
            ("server", functools.partial(step.decode, sent, received)),
        ):
            call()
            seconds, steps = [], []
            for _ in range(plan.times):
                seconds.append(clock(call, at_least=_SECONDS))
                steps.append(seconds[-1] / (clock(trainer.fit) / config.local.steps))
            values = tuple(1e3 * value for value in seconds)
            yield Figure(key=f"ms-{kind}-{key}", what=f"{kind} at the {key}", values=values, unit="ms")
            yield Figure(key=f"steps-{kind}-{key}", what="of a local step of training", values=tuple(steps))


def _trainer_of(config: RunConfig) -> Trainer:
    """Returns the first client's, before the first round."""
    torch.set_num_threads(config.local.num_threads)
    shard = data.shard(config, Site.of({"partition-id": 0, "num-partitions": config.federation.num_clients}))
    trainer = Trainer(TrainerSpec.of(config, shard.spec, torch.device("cpu")))
    trainer.assign(Assignment(shard.examples, config.seed, 0, 1, config.federation.num_rounds), None)
    return trainer


def _length(tree: Tree) -> float:
    return math.sqrt(sum(float(value.double().square().sum()) for value in tree.values()))
