"""Federated averaging of generator and discriminator."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor

from common.aggregators import Aggregator
from common.algorithms.base import AVERAGED, Algorithm, ServerContext, ServerState, weight_name
from common.errors import ConfigError
from common.exchange import LocalTrainer, Memory, Payload, Reply
from common.models import Model, Roles
from common.objectives import Objective
from common.privacy import PrivateMechanism
from common.tree import Tree, interpolate, networks_of, select
from common.weightings import Weighting

PERSONAL = "personal"


class FedAvg(Algorithm):
    """Clients train the networks they receive; the server takes their mean, as ``aggregate`` says.

    ``sync`` says which networks are averaged: all (``both``), those that samples are made with (``generator``), or
    their adversaries (``discriminator``). The others stay with their client, who starts them from the run's common
    initial weights and keeps them between rounds. With ``sync=discriminator`` nothing that could make samples ever
    reaches the server.

    With ``ema-steps`` the moving average of the published networks is over the clients' steps, where it is over rounds
    otherwise, with the same half-life in rounds: flow and diffusion models are sampled from such averages. A client
    sends, beside its last weights w_n after n steps, their weighted mean a = (1 - d) / (1 - d^n) sum_i d^(n - i) w_i,
    and the server takes d^n of its average and 1 - d^n of the mean of the a. As that is linear, it is to rounding the
    mean of the moving averages e <- d e + (1 - d) w_i that the clients would keep. The mean is the one that
    ``aggregate`` and ``weighting`` say, made of the a alone, so ``krum`` may pick another client for it. Uploads grow
    by the size of the published networks. Each update a - w_0 is transformed as w_n - w_0 is: ``clip`` bounds both
    together, ``noise`` is drawn for each, and ``compress`` keeps the error of each.
    """

    source: ClassVar[str] = (
        "McMahan et al. 2017 (arXiv 1602.05629); FedGAN, Rasouli et al. 2020 (arXiv 2006.07228); "
        "sync: Fan, Liu 2020 (arXiv 2005.03793)"
    )

    takes_means_alone: ClassVar[bool] = True
    private_mechanism: ClassVar[PrivateMechanism] = "steps"

    ema_steps: bool = Field(
        False, description="that average is over clients' steps instead of rounds; their uploads grow by it"
    )
    sync: Literal["both", "generator", "discriminator"] = Field("both", description="which networks are averaged")

    @model_validator(mode="after")
    def _has_an_average_over_steps(self) -> Self:
        if not self.ema_steps:
            return self
        if self.ema_half_life == 0:
            raise ValueError("ema-steps=true: ema-half-life=0 keeps no average, set it to a number of rounds")
        if self.ema_adaptive:
            raise ValueError(
                "ema-steps=true: clients weight their steps before anyone knows how far the weights move in the "
                "round, so leave out ema-adaptive"
            )
        if self.sync == "discriminator":
            raise ValueError("ema-steps=true: sync=discriminator publishes nothing that could be averaged")
        return self

    @property
    def means_per_round(self) -> int:
        return 2 if self.ema_steps else 1

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
        if self.ema_steps:
            trainer.average_steps(self.kept_share(trainer.round))
        if self.sync != "both":
            trainer.load(memory.get(PERSONAL) or trainer.initial())
        trainer.load(weights)

    def conclude(self, metrics: dict[str, float], trainer: LocalTrainer, memory: Memory, partition: int) -> Reply:
        """Returns the reply with the trained weights, and remembers the network that stays with its client."""
        trained = trainer.parameters()
        if self.sync != "both":
            shared = self.shared(trained, trainer.roles)
            memory[PERSONAL] = select(trained, [n for n in networks_of(trained) if n not in networks_of(shared)])
        arrays = self.shared(trained, trainer.roles) | self.step_averages(trainer)
        return Reply(partition, trainer.num_examples, arrays, metrics)

    def step_averages(self, trainer: LocalTrainer) -> dict[str, Tensor]:
        """Returns what a reply holds beside weights, under names of its own; empty without ``ema-steps``."""
        return _as_averages(trainer.averaged()) if self.ema_steps else {}

    def fit(self, payload: Payload, trainer: LocalTrainer) -> dict[str, float]:
        """Trains the loaded networks and returns the means; a variant adds its loss or its change of gradients here."""
        return trainer.fit()

    @property
    def weighting(self) -> Weighting | None:
        """How much each client counts, where the algorithm says it itself."""
        return None

    def aggregate(self, state: ServerState, replies: Sequence[Reply], context: ServerContext) -> ServerState:
        return replace(state, parameters=context.mean(replies, state.parameters, self.weighting))

    def next_average(
        self, before: ServerState, after: ServerState, replies: Sequence[Reply], context: ServerContext
    ) -> Tree:
        if not self.ema_steps:
            return super().next_average(before, after, replies, context)
        origin = _as_averages(select(before.parameters, context.model.roles.published))
        _, mean = split_reply(context.mean(replies, origin, self.weighting, scope="step-average"))
        return interpolate(after.average, mean, self.kept_share(after.round))

    def received(self, arrays: Tree, published: Sequence[str]) -> Tree:
        if not self.ema_steps:
            return arrays
        return {**arrays, **_as_averages(select(arrays, published))}

    def reply_template(self, state: ServerState, context: ServerContext) -> Tree:
        return self.received(state.parameters, context.model.roles.published)

    def reply_parts(self, template: Tree) -> list[Tree]:
        if not self.ema_steps:
            return [template]
        weights, averages = split_reply(template)
        return [weights, _as_averages(averages)]


def _as_averages(tree: Tree) -> dict[str, Tensor]:
    return {f"{AVERAGED}{key}": value for key, value in tree.items()}


def split_reply(arrays: Tree) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Returns the weights among the arrays of a reply, and the averages over steps by the names of their weights."""
    weights = {key: value for key, value in arrays.items() if not key.startswith(AVERAGED)}
    return weights, {weight_name(key): value for key, value in arrays.items() if key not in weights}
