"""Counts of all clients, added up: exact, in one round."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from common.aggregators import Aggregator
from common.algorithms.base import Algorithm, ServerContext, ServerState
from common.errors import ConfigError, ProtocolError
from common.exchange import LocalTrainer, Memory, Payload, Reply
from common.models import Model, Roles
from common.models.base import Fitting
from common.objectives import Objective
from common.tree import Tree, networks_of


class CountSums(Algorithm):
    """Clients count their examples once, and the server adds the counts up by what was counted.

    The sums are to the last count those of the examples of all clients that took part in the round, in one place: no
    mean, and no rounding. For models that are counts (``Model.fitting``), which have no steps and no optimiser.

    Counts are facts about a client's examples: a run of characters that one text has is a piece of that text. With
    ``min_count`` a client leaves out what it has seen less often; the sums are then those of what was sent.
    """

    source: ClassVar[str] = "Chu et al. 2006 (NIPS 19), the summation form of sufficient statistics"
    averages_weights: ClassVar[bool] = False
    own_weighting = True
    fitting: ClassVar[Fitting] = "counts"

    ema_half_life: float = Field(0.0, ge=0, le=0, description="0: one round has no moving average")
    min_count: int = Field(1, ge=1, description="clients send nothing that they have seen less often")

    def check(self, objective: Objective, aggregator: Aggregator, model: Model) -> None:
        if aggregator.one_vote_each:
            raise ConfigError(
                f"aggregate={aggregator.spec()!r} is for weights, and algorithm={self.component_name()!r} adds up "
                "counts: only aggregate='mean' stands aside"
            )

    def init(self, parameters: Tree, roles: Roles) -> ServerState:
        return ServerState(round=0, parameters=self.shared(parameters, roles))

    def run(self, payload: Payload, trainer: LocalTrainer, memory: Memory, partition: int) -> Reply:
        counts, metrics = trainer.count()
        for name in networks_of(counts):
            often = counts[f"{name}.counts"] >= self.min_count
            counts |= {key: counts[key][often] for key in (f"{name}.keys", f"{name}.counts")}
        return Reply(partition, trainer.num_examples, counts, metrics)

    def reply_parts(self, template: Tree) -> list[Tree]:
        return []  # clients have counts in proportion to their examples

    def check_reply(self, reply: Reply, context: ServerContext) -> None:
        for name in networks_of(reply.arrays):
            keys, counts = reply.arrays[f"{name}.keys"], reply.arrays[f"{name}.counts"]
            if len(keys) != len(counts):
                raise ProtocolError(f"{name} has {len(keys)} keys and {len(counts)} counts")
            if not len(keys):
                continue
            if int(keys[0]) < 0 or not bool((keys[1:] > keys[:-1]).all()):
                raise ProtocolError(f"{name}.keys are not ascending numbers from 0 on")
            most = reply.num_examples * math.prod(context.spec.shape)
            if int(counts.min()) < self.min_count or int(counts.max()) > most:
                raise ProtocolError(f"{name}.counts are not in [{self.min_count}, {most}]")

    def aggregate(self, state: ServerState, replies: Sequence[Reply], context: ServerContext) -> ServerState:
        return replace(state, parameters=added([reply.arrays for reply in replies]))


def added(trees: Sequence[Tree]) -> dict[str, Tensor]:
    """Returns the counts of several trees, one or more, added up by their keys; see ``Model.fitting``."""
    total: dict[str, Tensor] = {}
    for name in networks_of(trees[0]):
        keys, place = torch.cat([tree[f"{name}.keys"] for tree in trees]).unique(return_inverse=True)  # type: ignore[no-untyped-call]
        counts = torch.cat([tree[f"{name}.counts"] for tree in trees])
        total[f"{name}.keys"] = keys
        total[f"{name}.counts"] = torch.zeros_like(keys).index_add_(0, place, counts)
    return total
