"""Federated averaging of generator and discriminator."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from common.algorithms.base import Algorithm, ServerContext, ServerState
from common.exchange import LocalTrainer, Memory, Payload, Reply
from common.tree import Tree, networks_of, select

PERSONAL = "personal"


class FedAvg(Algorithm):
    """Clients train the networks they receive; the server takes their mean, as ``aggregate`` says.

    ``sync`` says which network is averaged; the other one stays with its client, who starts it from the run's common
    initial weights and keeps it between rounds. With ``sync=discriminator`` no generator ever reaches the server.
    """

    source: ClassVar[str] = (
        "McMahan et al. 2017 (arXiv 1602.05629); FedGAN, Rasouli et al. 2020 (arXiv 2006.07228); "
        "sync: Fan, Liu 2020 (arXiv 2005.03793)"
    )

    sync: Literal["both", "generator", "discriminator"] = Field("both", description="which networks are averaged")

    @property
    def publishes_generator(self) -> bool:
        return self.sync != "discriminator"

    def shared(self, parameters: Tree) -> dict[str, Tensor]:
        return dict(parameters) if self.sync == "both" else select(parameters, [self.sync])

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
            memory[PERSONAL] = select(trained, [n for n in networks_of(trained) if n != self.sync])
        return Reply(partition, trainer.num_examples, self.shared(trained), metrics)

    def fit(self, payload: Payload, trainer: LocalTrainer) -> dict[str, float]:
        """Trains the loaded networks and returns the means; a variant adds its loss or its change of gradients here."""
        return trainer.fit()

    def aggregate(self, state: ServerState, replies: Sequence[Reply], context: ServerContext) -> ServerState:
        return replace(state, parameters=context.mean(replies, state.parameters))
