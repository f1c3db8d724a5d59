"""What a client's step costs under a promise of privacy, by family: gradients of single examples, clips and noise."""

import torch

from client.batches import Assignment
from client.data import load
from client.trainer import Trainer
from client.trainer_spec import TrainerSpec
from common.config import RunConfig, Scalar
from common.privacy.accounting import Mechanism
from common.privacy.plan import PrivacyPlan
from simulations.performance.families import FAMILIES
from simulations.performance.figures import Figure, Measured, Plan, in_turn
from simulations.performance.loops import PLAIN

_GAN: dict[str, dict[str, Scalar]] = {
    "mlp": {"model": "mlp"},
    "dcgan": {"model": "dcgan"},
    "dcgan-r1": {"model": "dcgan", "objective": "non-saturating r1=1.0"},
}
_BATCHES = {"mlp": 256, "dcgan": 256, "dcgan-r1": 256, "vae": 128, "unet": 32, "transformer": 16}
_STEPS = 3


def private_steps(plan: Plan) -> Measured:
    """The speed of a private step, on one thread, beside a step without noise on a batch of the same size.

    Both by the client's own trainer. Private batches are of that size on average; a GAN's generator steps as well.
    """
    settings = _GAN | {name: of for name, (of, _) in FAMILIES.items()}
    for name in ("mlp",) if plan.quick else _BATCHES:
        config = PLAIN.replaced(
            {**settings[name], "local.steps": _STEPS, "local.batch-size": 8 if plan.quick else _BATCHES[name]}
        )
        plain, private = _Client(config, is_private=False), _Client(config, is_private=True)
        plain.run(), private.run()
        pairs = in_turn(plan.times, plain.run, private.run)
        size = config.local.batch_size
        plain_ms = tuple(seconds / _STEPS * 1e3 for seconds, _ in pairs)
        yield Figure(key=name, what=f"a step of {name} without noise, batch {size}", values=plain_ms, unit="ms")
        ratios = tuple(private / plain for plain, private in pairs)
        yield Figure(key=f"{name}-private", what=f"a private step of {name} in units of that", values=ratios)


class _Client:
    """A client that holds the whole data set."""

    def __init__(self, config: RunConfig, is_private: bool) -> None:
        data = load(config.data)
        self._trainer = Trainer(TrainerSpec.of(config, data.spec, torch.device("cpu")))
        rate = config.local.batch_size / len(data.train)
        plan = PrivacyPlan(Mechanism(1.0, rate), 1_000_000, clip=1.0, delta=1e-5) if is_private else None
        self._assignment = Assignment(data.train, config.seed, 0, 1, plan=plan)

    def run(self) -> float:
        """Trains a round, and returns its wall seconds."""
        self._trainer.assign(self._assignment, None)
        return self._trainer.fit()["seconds"]
