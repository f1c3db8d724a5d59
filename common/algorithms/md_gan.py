"""One generator on the server, and discriminators that wander over the clients."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from common.algorithms.base import ServerContext, ServerState
from common.algorithms.central import CentralGenerator
from common.algorithms.on_server import DISCRIMINATOR
from common.exchange import LocalTrainer, Memory, Payload, Reply
from common.objectives.adversarial import AdversarialObjective
from common.seeding import numpy_generator
from common.tree import Tree, select

_ON_ITS_WAY = "discriminator-"
_TRIES, _MOST_TRIES = "tries", 3


class MDGAN(CentralGenerator):
    """The generator descends the mean of its losses before all clients' discriminators, by their error feedback.

    Every ``swap-every`` rounds the discriminators that were heard move on in a circle of random order, so each to
    another client. They travel by the server, up with the reply and down with the next task of their new client, who
    may be asked rounds later. One that was sent in three rounds without a reply that could be used, as its new client
    is away or fails on it, is given up, and the journal says so: that client goes on with the discriminator that it
    trained last, or a fresh one. Adam's moments do not travel; with ``local.moments=keep`` they stay with the client.

    Deviations: all clients give feedback on the same images (the paper's k = 1; their fakes to train on differ). With
    ``by-label``, where clients disclose their labels, the mean over clients is for each image one over its label's
    owners, in proportion to their images of it, as a discriminator knows nothing of labels that it never saw. A robust
    ``aggregate`` replaces the paper's plain mean of the gradients, and gives each client one vote for any image.
    """

    source: ClassVar[str] = "Hardy, Le Merrer, Sericola 2019 (arXiv 1811.03850), algorithm 1"

    swap_every: int = Field(1, ge=0, description="rounds between swaps of the discriminators; 0: they stay")
    by_label: bool = Field(True, description="feedback on an image counts by the client's share of its label's images")

    def broadcast(self, state: ServerState, cohort: Sequence[int], context: ServerContext) -> dict[int, Payload]:
        payloads = super().broadcast(state, cohort, context)
        return {
            k: Payload(
                {**payload.arrays, **state.slots.get(f"{_ON_ITS_WAY}{k}", {})},
                {**payload.scalars, "swap": float(self._swaps(state.round + 1))},
            )
            for k, payload in payloads.items()
        }

    def run(self, payload: Payload, trainer: LocalTrainer, memory: Memory, partition: int) -> Reply:
        reply = super().run(payload, trainer, memory, partition)
        if not payload.scalars["swap"]:
            return reply
        return replace(reply, arrays={**reply.arrays, **memory[DISCRIMINATOR]})

    def reply_template(self, state: ServerState, context: ServerContext) -> Tree:
        template = super().reply_template(state, context)
        if not self._swaps(state.round + 1):
            return template
        networks = context.model.build(context.spec, seed=0).state_dict()
        travelling = select(networks, [DISCRIMINATOR])
        return {**template, **{key: torch.zeros_like(value) for key, value in travelling.items()}}

    def aggregate(self, state: ServerState, replies: Sequence[Reply], context: ServerContext) -> ServerState:
        after = super().aggregate(state, replies, context)
        # A discriminator has arrived when its new client has answered; until then it is sent again.
        tries = {k: tried for k, tried in self._tries(state, replies, context).items() if tried < _MOST_TRIES}
        slots = {
            name: slot
            for name, slot in after.slots.items()
            if name != _TRIES and (not name.startswith(_ON_ITS_WAY) or _partition(name) in tries)
        }
        if failed := {str(k): torch.tensor(tried) for k, tried in tries.items() if tried}:
            slots[_TRIES] = failed
        return replace(after, slots=slots | self._swapped(state.round + 1, replies, context))

    def incidents(self, state: ServerState, replies: Sequence[Reply], context: ServerContext) -> dict[int, str]:
        return {
            k: f"the discriminator on its way to it was sent {tried} times and is given up: it goes on with its own"
            for k, tried in self._tries(state, replies, context).items()
            if tried >= _MOST_TRIES
        }

    def pull(self, replies: Sequence[Reply], labels: Tensor, context: ServerContext) -> Tensor:
        if not context.aggregator.one_vote_each:
            return super().pull(replies, labels, context)
        slopes = self.all_slopes(replies, labels, context) * len(replies)
        trees = [
            {"gradients": (slope[:, None, None, None] * reply.arrays["gradients"].double()).float()}
            for reply, slope in zip(replies, slopes, strict=True)
        ]
        origin = {"gradients": torch.zeros_like(trees[0]["gradients"])}
        return context.aggregator.combine(trees, [1.0] * len(trees), origin)["gradients"]

    def shares(self, partitions: Sequence[int], labels: Tensor, context: ServerContext) -> Tensor:
        if self.by_label and not context.aggregator.one_vote_each:
            return super().shares(partitions, labels, context)
        return torch.full((len(partitions), len(labels)), 1.0 / len(partitions), dtype=torch.float64)

    def slopes(self, logits: Tensor, shares: Tensor, objective: AdversarialObjective) -> Tensor:
        looked_at = logits.clone().requires_grad_(True)
        losses = [objective.generator_loss(own) for own in looked_at]
        (slopes,) = torch.autograd.grad(losses, looked_at, [torch.ones_like(loss) for loss in losses])
        return shares * slopes

    def _tries(self, state: ServerState, replies: Sequence[Reply], context: ServerContext) -> dict[int, int]:
        """Returns how often each discriminator that has not arrived was sent, by its new client's partition."""
        heard = {reply.partition for reply in replies}
        waiting = sorted(_partition(name) for name in state.slots if name.startswith(_ON_ITS_WAY))
        before = state.slots.get(_TRIES, {})
        return {k: int(before.get(str(k), 0)) + (k in context.cohort) for k in waiting if k not in heard}

    def _swaps(self, round: int) -> bool:
        return self.swap_every > 0 and round % self.swap_every == 0

    def _swapped(self, round: int, replies: Sequence[Reply], context: ServerContext) -> dict[str, Tree]:
        """Returns the discriminators of the replies by the slot of the client that each goes to."""
        if not self._swaps(round) or len(replies) < 2:
            return {}
        order = numpy_generator(context.seed, "server", round, "swap").permutation(len(replies)).tolist()
        return {
            f"{_ON_ITS_WAY}{replies[to].partition}": select(replies[of].arrays, [DISCRIMINATOR])
            for of, to in zip(order, order[1:] + order[:1], strict=True)
        }


def _partition(name: str) -> int:
    """Returns the client that the discriminator in this slot is on its way to."""
    return int(name.removeprefix(_ON_ITS_WAY))
