"""Federated averaging of generator and discriminator."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from common.aggregators import Aggregator
from common.algorithms.base import Algorithm, ServerContext, ServerState
from common.errors import ConfigError
from common.exchange import LocalTrainer, Memory, Payload, Reply
from common.models import Model, Roles
from common.objectives import Objective
from common.tree import Tree, networks_of, select

PERSONAL = "personal"


class FedAvg(Algorithm):
    """Clients train the networks they receive; the server takes their mean, as ``aggregate`` says.

    ``sync`` says which networks are averaged: all (``both``), those that samples are made with (``generator``), or
    their adversaries (``discriminator``). The others stay with their client, who starts them from the run's common
    initial weights and keeps them between rounds. With ``sync=discriminator`` nothing that could make samples ever
    reaches the server.
    """

    source: ClassVar[str] = (
        "McMahan et al. 2017 (arXiv 1602.05629); FedGAN, Rasouli et al. 2020 (arXiv 2006.07228); "
        "sync: Fan, Liu 2020 (arXiv 2005.03793)"
    )

    sync: Literal["both", "generator", "discriminator"] = Field("both", description="which networks are averaged")

    @property
    def publishes_model(self) -> bool:
        return self.sync != "discriminator"

    def check(self, objective: Objective, aggregator: Aggregator, model: Model) -> None:
        if self.sync == "discriminator" and not model.roles.adversaries:
            raise ConfigError(
                f"algorithm={self.spec()!r}: model={model.component_name()!r} has no discriminator to average; take "
                "sync=both or sync=generator"
            )

    def shared(self, parameters: Tree, roles: Roles) -> dict[str, Tensor]:
        if self.sync == "both":
            return dict(parameters)
        return select(parameters, roles.published if self.sync == "generator" else roles.adversaries)

    def run(self, payload: Payload, trainer: LocalTrainer, memory: Memory, partition: int) -> Reply:
        self.begin(payload.arrays, trainer, memory)
        return self.conclude(self.fit(payload, trainer), trainer, memory, partition)

    def begin(self, weights: Tree, trainer: LocalTrainer, memory: Memory) -> None:
        """Loads the weights that a round starts from, and those of a network that stays with its client."""
        if self.sync != "both":
            trainer.load(memory.get(PERSONAL) or trainer.initial())
        trainer.load(weights)

    def conclude(self, metrics: dict[str, float], trainer: LocalTrainer, memory: Memory, partition: int) -> Reply:
        """Returns the reply with the trained weights, and remembers the network that stays with its client."""
        trained = trainer.parameters()
        if self.sync != "both":
            shared = self.shared(trained, trainer.roles)
            memory[PERSONAL] = select(trained, [n for n in networks_of(trained) if n not in networks_of(shared)])
        return Reply(partition, trainer.num_examples, self.shared(trained, trainer.roles), metrics)

    def fit(self, payload: Payload, trainer: LocalTrainer) -> dict[str, float]:
        """Trains the loaded networks and returns the means; a variant adds its loss or its change of gradients here."""
        return trainer.fit()

    def aggregate(self, state: ServerState, replies: Sequence[Reply], context: ServerContext) -> ServerState:
        return replace(state, parameters=context.mean(replies, state.parameters))
