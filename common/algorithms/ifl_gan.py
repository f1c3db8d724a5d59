"""Averaging of generators in which a client counts the more the worse its own still imitates its images."""

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from common.aggregators import Aggregator
from common.algorithms.base import require_weights
from common.algorithms.fedavg import FedAvg
from common.exchange import LocalTrainer, Memory, Payload, Reply
from common.models import Model
from common.objectives import Objective
from common.privacy import PrivateMechanism
from common.weightings.mmd import MMD


class IFLGAN(FedAvg):
    """``fedavg sync=generator`` with the weights of ``mmd``: the less a client has converged, the more it counts.

    Discriminators stay with their clients. A very high ``temperature`` gives ``fedavg sync=generator`` with
    ``weighting=uniform``.
    """

    source: ClassVar[str] = "IFL-GAN, Li et al., TNNLS 2022"

    own_weighting: ClassVar[bool] = True
    private_mechanism: ClassVar[PrivateMechanism] = ""  # measures examples after training
    takes_means_alone: ClassVar[bool] = False

    sync: Literal["both", "generator", "discriminator"] = Field("generator", description="which networks are averaged")
    temperature: float = Field(1.0, gt=0, description="divides the MMD in the weights' exponent")

    def check(self, objective: Objective, aggregator: Aggregator, model: Model) -> None:
        super().check(objective, aggregator, model)
        require_weights(self, aggregator)

    def run(self, payload: Payload, trainer: LocalTrainer, memory: Memory, partition: int) -> Reply:
        reply = super().run(payload, trainer, memory, partition)
        return replace(reply, metrics={**reply.metrics, **self.weighting.measure(trainer)})

    @property
    def weighting(self) -> MMD:
        return MMD(temperature=self.temperature)
