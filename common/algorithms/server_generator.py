"""Clients train the discriminator only; the generator is trained on the server, against their mean."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from common.algorithms.base import ServerContext, ServerState
from common.algorithms.on_server import DISCRIMINATOR, OnServer, adversarial, batch_size, load
from common.errors import ConfigError
from common.exchange import LocalTrainer, Memory, Payload, Reply
from common.seeding import torch_generator
from common.tree import Tree, distance, select
from common.weightings import WEIGHTINGS


class ServerGenerator(OnServer):
    """Clients train the discriminator they receive against fakes of the generator they receive, and send it back.

    The server takes the mean of the discriminators, as ``aggregate`` and ``weighting`` say, and then trains the
    generator against it, ``generator-steps`` steps with labels as all clients hold them together (evenly, where one
    keeps its own to itself). A client learns of the others by the mean discriminator and the generator alone.

    ``clip`` bounds the length of a client's change of the discriminator, on the client; ``noise`` adds, to the mean
    over the K replies, normal noise of standard deviation noise * clip / K, and makes the mean one of equal weights.
    The generator only ever sees the noised mean, and is kept from the data otherwise. **No epsilon is claimed:**
    nothing here counts what rounds spend, clients are not sampled as an accountant would ask, noise is added by a
    server that sees each client's own, and the draws are those of a simulation, from the run's seed.

    Deviations: a client sends what it received plus its clipped change, which says the same as the change alone, so
    that every ``aggregate`` and the admission of updates take it as they take other weights. Adam on both sides. With
    ``wire.compression`` what arrives may be longer than ``clip`` by what rounding left of this update and the last.
    """

    source: ClassVar[str] = "Augenstein et al. 2020 (arXiv 1911.06679), algorithm 1"

    clip: float = Field(0.0, ge=0, description="longest change of the discriminator that a client sends; 0: any")
    noise: float = Field(0.0, ge=0, description="standard deviation of the noise on the mean, in clip / replies")

    @model_validator(mode="after")
    def _noise_has_a_scale(self) -> Self:
        if self.noise > 0 and self.clip == 0:
            raise ConfigError(f"noise={self.noise:g} counts in clip / replies: give clip=, the longest change")
        return self

    def broadcast(self, state: ServerState, cohort: Sequence[int], context: ServerContext) -> dict[int, Payload]:
        return dict.fromkeys(cohort, Payload(state.parameters, batch_size(context)))

    def run(self, payload: Payload, trainer: LocalTrainer, memory: Memory, partition: int) -> Reply:
        trainer.load(payload.arrays)
        metrics = self.train_discriminator(payload, trainer)
        received = select(payload.arrays, [DISCRIMINATOR])
        trained = select(trainer.parameters(), [DISCRIMINATOR])
        return Reply(partition, trainer.num_examples, self._clipped(trained, received), metrics)

    def _clipped(self, trained: Tree, received: Tree) -> Tree:
        length = distance(trained, received)
        if not self.clip or not math.isfinite(length) or length <= self.clip:
            return trained
        share = self.clip / length
        return {
            key: received[key] + share * (value - received[key]) if value.is_floating_point() else value
            for key, value in trained.items()
        }

    def reply_template(self, state: ServerState, context: ServerContext) -> Tree:
        return select(state.parameters, [DISCRIMINATOR])

    def aggregate(self, state: ServerState, replies: Sequence[Reply], context: ServerContext) -> ServerState:
        origin = self.reply_template(state, context)
        weighting = WEIGHTINGS["uniform"]() if self.noise else None
        mean = context.mean(replies, origin, weighting)
        if self.noise:
            random = torch_generator(context.seed, "server", state.round + 1, "noise")
            mean = _noised(mean, self.noise * self.clip / len(replies), random)
        network = load(mean, DISCRIMINATOR, context).requires_grad_(False)
        objective = adversarial(context.objective)

        def loss(rows: slice, images: Tensor, labels: Tensor) -> Tensor:
            return objective.generator_loss(network(images, labels))

        return self.descend(replace(state, parameters={**state.parameters, **mean}), context, loss)


def _noised(tree: Tree, std: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Returns ``tree`` with normal noise on every floating entry; the same whatever the order of the entries."""
    noises = {key: torch.randn(tree[key].shape, generator=generator) for key in sorted(tree)}
    return {
        key: value + std * noises[key] if value.is_floating_point() else value.clone() for key, value in tree.items()
    }
