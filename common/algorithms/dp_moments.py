"""Moments of all clients, added up: in one round, and private if the run promises it."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field

from common.aggregators import Aggregator
from common.algorithms.base import Algorithm, ServerContext, ServerState
from common.errors import ConfigError, ProtocolError
from common.exchange import LocalTrainer, Memory, Payload, Reply
from common.models import Model, Roles
from common.models.base import Fitting
from common.objectives import Objective
from common.outer_products import packed_size, unpacked
from common.privacy import PrivateMechanism
from common.tree import Tree
from common.weightings import WEIGHTINGS

SUMS, VARIANCE = "moments.sums", "moments.noise-variance"


class DPMoments(Algorithm):
    """Clients send sums over their examples once, with noise where the run promises privacy; the server adds them up.

    What is summed are outer products of the model's vectors (``Model.described``), for each of its parts. An example is
    in one part, with a vector of length 1 at most, so it adds a matrix of length 1 at most: one Gaussian mechanism,
    used once. The model follows from the sums, however often it is drawn from. Sums do not depend on how examples are
    split over clients, but each client's noise adds to the result; under ``aggregate="secure-mean"`` they can share
    it, see ``ExamplePrivacy``. Sums travel as float64: rounding is far below any noise.

    Without a promise the sums are exact, and a client that holds one example of a part sends that example.
    """

    source: ClassVar[str] = (
        "Dwork et al. 2006 (EUROCRYPT), sums with noise; second moments: Dwork et al. 2014 (STOC), analyze Gauss"
    )
    averages_weights: ClassVar[bool] = False
    own_weighting = True
    counts_alike: ClassVar[bool] = True
    takes_means_alone: ClassVar[bool] = True
    fitting: ClassVar[Fitting] = "moments"
    private_mechanism: ClassVar[PrivateMechanism] = "sums"

    ema_half_life: float = Field(0.0, ge=0, le=0, description="0: one round has no moving average")

    def check(self, objective: Objective, aggregator: Aggregator, model: Model) -> None:
        if aggregator.one_vote_each:
            raise ConfigError(
                f"aggregate={aggregator.spec()!r} is for weights, and algorithm={self.component_name()!r} adds up "
                "moments: take aggregate='mean'"
            )

    def init(self, parameters: Tree, roles: Roles) -> ServerState:
        return ServerState(round=0, parameters=self.shared(parameters, roles))

    def run(self, payload: Payload, trainer: LocalTrainer, memory: Memory, partition: int) -> Reply:
        start = time.perf_counter()
        sums, noise = trainer.noisy_moments()
        arrays = {SUMS: sums, VARIANCE: torch.tensor(noise**2, dtype=torch.float64)}
        metrics = {"examples": trainer.num_examples, "seconds": time.perf_counter() - start}
        return Reply(partition, trainer.num_examples, arrays, metrics)

    def reply_template(self, state: ServerState, context: ServerContext) -> Tree:
        parts, size = context.model.moments_shape(context.spec)
        return {
            SUMS: torch.zeros(parts, packed_size(size), dtype=torch.float64),
            VARIANCE: torch.zeros((), dtype=torch.float64),
        }

    def reply_parts(self, template: Tree) -> list[Tree]:
        return []  # clients have sums in proportion to their examples

    def check_reply(self, reply: Reply, context: ServerContext) -> None:
        length, variance = float(reply.arrays[SUMS].double().norm()), float(reply.arrays[VARIANCE])
        if variance < 0:
            raise ProtocolError(f"{VARIANCE} is {variance:.3g}, less than 0")
        noise = math.sqrt(variance) * (math.sqrt(reply.arrays[SUMS].numel()) + _FAR_OUT)
        if length > 1.001 * (reply.num_examples + noise):
            raise ProtocolError(
                f"{SUMS} has length {length:.4g}, and no {reply.num_examples:,} examples have one of more than "
                f"{reply.num_examples + noise:.4g} with their noise"
            )

    def aggregate(self, state: ServerState, replies: Sequence[Reply], context: ServerContext) -> ServerState:
        template = self.reply_template(state, context)
        mean = context.mean(replies, template, WEIGHTINGS["uniform"]())
        _, size = context.model.moments_shape(context.spec)
        sums = unpacked(mean[SUMS].double() * len(replies), size)
        noise = math.sqrt(float(mean[VARIANCE]) * len(replies))
        return replace(state, parameters=context.model.fitted(context.spec, sums, noise))


_FAR_OUT = 7.0
"""Standard deviations by which the length of normal noise may exceed the root of its numbers: once in 10^11."""
