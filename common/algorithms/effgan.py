"""Federated averaging first; then every client fine-tunes a copy of its own, and all copies together are published."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from common.algorithms.base import ServerContext, ServerState, weight_name
from common.algorithms.fedavg import PERSONAL, FedAvg, split_reply
from common.exchange import Client, LocalTrainer, Memory, Payload, Reply
from common.generation import MIXTURE
from common.tree import Tree, interpolate, select

_FINETUNE = "finetune"
_SHARES = "shares"
_ACCEPTED = "finetuned"
_NOT_YET = -1  # among the mixture's generators: that of all clients who have not fine-tuned yet


class EFFGAN(FedAvg):
    """``fedavg``, but in the last rounds each client trains its own copy of both networks and sends the generator.

    Published is the mixture of the clients' generators: a sample of label y is made by client k with a probability in
    proportion to its images of label y, or, where it keeps these numbers to itself, to the number that it would have if
    its labels were evenly spread. Each of the generators is the moving average of the client's, which begins with that
    of the shared one (``ema-half-life=0``: the client's last); of a client that was not yet in a round of fine-tuning
    it is still the shared one. Shared weights stay as they are from there on. A run that is resumed for more rounds
    goes on fine-tuning. Whoever is given the mixture is given the clients' shares of each label with it.

    ``finetune=0`` is ``fedavg`` to the bit; with ``finetune=1`` clients train alone from the common start: the local
    baseline. A client's update is then the difference to its own last weights that were accepted, as who was asked more
    often has gone further from the shared ones; or to these, where a client that lost its own has begun anew.
    Deviations from the paper: its clients have as many images each and a sample picks any of them; a label that is
    asked for is not part of it.
    """

    source: ClassVar[str] = "EFFGAN, Ekblom et al. 2022 (arXiv 2206.11682)"
    averages_weights: ClassVar[bool] = False
    takes_means_alone: ClassVar[bool] = False

    finetune: float = Field(0.2, ge=0, le=1, description="share of the rounds, the last ones, without averaging")

    @model_validator(mode="after")
    def _shares_generators(self) -> Self:
        if self.sync == "discriminator":
            raise ValueError("sync=discriminator: generators are published, so it is sync=both or generator")
        return self

    @property
    def ends_otherwise(self) -> bool:
        return 0 < self.finetune < 1

    def finetunes(self, state: ServerState, context: ServerContext) -> bool:
        """Returns whether clients fine-tune in the round after ``state``."""
        rounds = int(self.finetune * context.num_rounds + 0.5)
        return MIXTURE in state.slots or (rounds > 0 and state.round >= context.num_rounds - rounds)

    def broadcast(self, state: ServerState, cohort: Sequence[int], context: ServerContext) -> dict[int, Payload]:
        payload = Payload(state.parameters, {_FINETUNE: float(self.finetunes(state, context))})
        return dict.fromkeys(cohort, payload)

    def run(self, payload: Payload, trainer: LocalTrainer, memory: Memory, partition: int) -> Reply:
        if not payload.scalars[_FINETUNE]:
            return super().run(payload, trainer, memory, partition)
        self.begin(payload.arrays, trainer, memory)
        trainer.load(memory.get(PERSONAL) or payload.arrays)  # holds both networks from the first such round on
        metrics = trainer.fit()
        trained = memory[PERSONAL] = trainer.parameters()
        arrays = select(trained, trainer.roles.published) | self.step_averages(trainer)
        return Reply(partition, trainer.num_examples, arrays, metrics)

    def reply_template(self, state: ServerState, context: ServerContext) -> Tree:
        if not self.finetunes(state, context):
            return super().reply_template(state, context)
        published = context.model.roles.published
        return self.received(select(state.parameters, published), published)

    def origins(self, state: ServerState, partition: int, template: Tree) -> list[Tree]:
        accepted = self._accepted(state)
        names = {key: f"{partition}.{weight_name(key)}" for key in template}
        own = {key: accepted[name] for key, name in names.items() if name in accepted}
        return [template, own] if own else [template]

    def aggregate(self, state: ServerState, replies: Sequence[Reply], context: ServerContext) -> ServerState:
        if not self.finetunes(state, context):
            return super().aggregate(state, replies, context)
        members = _by_number(state.slots.get(MIXTURE, {}))
        shared = members.pop(_NOT_YET, state.average or select(state.parameters, context.model.roles.published))
        for reply in replies:
            members[reply.partition] = self._published(members.get(reply.partition, shared), reply, state.round + 1)
        held = {k: _per_class(client, context.spec.num_classes) for k, client in context.clients.items()}
        waiting = [counts for k, counts in held.items() if k not in members]
        shares = {k: held[k] for k in members}
        if waiting:
            members[_NOT_YET] = shared
            shares[_NOT_YET] = torch.stack(waiting).sum(0)
        mixture = {f"{k}.{key}": value for k in sorted(members) for key, value in members[k].items()}
        mixture[_SHARES] = torch.stack([shares[k] for k in sorted(members)])
        slots = {**state.slots, MIXTURE: mixture}
        if self.ema_half_life:
            sent = {f"{reply.partition}.{k}": v for reply in replies for k, v in split_reply(reply.arrays)[0].items()}
            slots[_ACCEPTED] = {**self._accepted(state), **sent}
        return replace(state, average={}, slots=slots)

    def _accepted(self, state: ServerState) -> Tree:
        """Returns the last weights of each client that were accepted in fine-tuning, with its number before each key.

        Without a moving average they are the mixture itself.
        """
        return state.slots.get(_ACCEPTED if self.ema_half_life else MIXTURE, {})

    def _published(self, before: Tree, reply: Reply, round: int) -> Tree:
        if self.ema_half_life == 0:
            return reply.arrays
        if self.ema_steps:
            return interpolate(before, split_reply(reply.arrays)[1], self.kept_share(round))
        return self.moving_average(before, before, reply.arrays, round)


def _by_number(mixture: Tree) -> dict[int, Tree]:
    members: dict[int, dict[str, Tensor]] = {}
    for entry, value in mixture.items():
        if entry != _SHARES:
            number, _, key = entry.partition(".")
            members.setdefault(int(number), {})[key] = value
    return dict(members)


def _per_class(client: Client, num_classes: int) -> Tensor:
    """Returns the client's images of each class, float64 (num_classes,)."""
    if client.label_counts is not None:
        return torch.tensor(client.label_counts, dtype=torch.float64)
    return torch.full((num_classes,), client.num_examples / num_classes, dtype=torch.float64)
