"""What a federated algorithm is: a server half and a client half in one transport-free object."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from common.aggregators import Aggregator, mean_over_movers
from common.algorithms.moving_average import MovingAverage
from common.config_sections import LocalConfig
from common.errors import ConfigError
from common.examples import ExampleSpec
from common.exchange import Client, LocalTrainer, Memory, Payload, Reply
from common.generation import MIXTURE
from common.models import Model, Roles
from common.models.base import Fitting
from common.objectives import Objective
from common.optimisers import Optimiser
from common.privacy import PrivateMechanism
from common.privacy.noisy_mean import NoisyMean
from common.seeding import numpy_generator
from common.transforms import UNTRANSFORMED, Pipeline
from common.tree import Tree, select
from common.weightings import WEIGHTINGS, Weighting

AVERAGED = "average."
"""Before the name of a weight: its average over a client's steps."""


def weight_name(key: str) -> str:
    """Returns the name of the weight that an entry of a reply is of: its own, or that of what is averaged."""
    return key.removeprefix(AVERAGED)


@dataclass(frozen=True)
class ServerState:
    """Everything that the server carries over a round.

    Attributes:
        round: Rounds done.
        parameters: The shared weights.
        average: Moving average of the published networks, or empty where the algorithm keeps none.
        slots: Further trees by name, of the algorithm's own (moments of a server optimizer, control variates).
    """

    round: int
    parameters: Tree
    average: Tree = field(default_factory=dict)
    slots: Mapping[str, Tree] = field(default_factory=dict)

    def published(self, roles: Roles) -> dict[str, Tensor]:
        """Returns the networks to score and publish, for ``common.generation``; empty if none are shared.

        The mixture of a slot of that name if there is one, else the average, else the shared weights.
        """
        if MIXTURE in self.slots:
            return {f"{MIXTURE}.{key}": value for key, value in self.slots[MIXTURE].items()}
        return select(self.average or self.parameters, roles.published)


@dataclass(frozen=True)
class ServerContext:
    """What the server half of an algorithm works with, beside its state.

    Attributes:
        seed: Of the server's random numbers; derive from it by ``common.seeding`` with the round.
        clients: Who takes part, by partition, in ascending order.
        aggregator: Makes one tree out of the clients', wherever the algorithm would take their mean.
        weighting: Says how much each client counts in it.
        model: Builds the networks.
        objective: The loss.
        optimiser: Steps a network that is trained on the server.
        spec: Of the examples, and the number of classes.
        local: Settings of training: batch size, rates.
        num_rounds: Rounds of the run.
        cohort: Partitions that are asked in the round at hand, ascending; empty before the first.
        round: The round at hand, from 1; 0 before the first.
        transforms: What is done to clients' updates on their way.
        device: Where the server computes what takes a network; weights and replies are on the CPU.
        noisy_mean: Takes the mean of the round at hand, where each client is promised privacy; else None.
    """

    seed: int
    clients: Mapping[int, Client]
    aggregator: Aggregator
    weighting: Weighting
    model: Model
    objective: Objective
    optimiser: Optimiser
    spec: ExampleSpec
    local: LocalConfig
    num_rounds: int
    cohort: Sequence[int] = ()
    round: int = 0
    transforms: Pipeline = UNTRANSFORMED
    device: str = "cpu"
    noisy_mean: NoisyMean | None = None

    def mean(
        self, replies: Sequence[Reply], origin: Tree, weighting: Weighting | None = None, scope: str = ""
    ) -> dict[str, Tensor]:
        """Returns the mean of the replies' entries that ``origin`` names, as ``aggregate`` and ``weighting`` say.

        Transforms of the mean have been applied, and have their say in who counts how much. Where clients are promised
        privacy, all count alike, see ``NoisyMean``.

        Args:
            replies: In order of partition, not empty.
            origin: Where the round started; its keys are those of the result.
            weighting: Instead of the run's.
            scope: Of the random numbers of transforms; two means of one round must not share them.

        Raises:
            FederationError: Fewer replies than the aggregator needs.
        """
        whole = all(reply.arrays.keys() == origin.keys() for reply in replies)
        arrays = [reply.arrays if whole else {key: reply.arrays[key] for key in origin} for reply in replies]
        if self.noisy_mean is not None:
            partitions = [reply.partition for reply in replies]
            return self.noisy_mean.of(dict(zip(partitions, arrays, strict=True)), origin)
        if self.transforms.equal_weights:
            weighting = WEIGHTINGS["uniform"]()
        weights = (weighting or self.weighting).weigh(replies, self.clients)
        mean = self.aggregator.combine(arrays, weights, origin)
        mean = {key: mean[key] for key in origin}
        if self.aggregator.by_movers and not self.transforms.equal_weights:  # those hide one client in a mean of all
            for key in origin:
                if weight_name(key) in self.model.class_tables:
                    tables = [entries[key] for entries in arrays]
                    mean[key].copy_(mean_over_movers(tables, weights, origin[key], mean[key]))  # where it lies
        return dict(self.transforms.after_mean(mean, len(replies), self.seed, self.round, scope))

    def parameter_keys(self, tree: Tree) -> list[str]:
        """Returns the keys of ``tree``, in its order, that training moves: the model's parameters, not its buffers."""
        with torch.device("meta"):
            networks = nn.ModuleDict(self.model.networks(self.spec))
        known = dict(networks.named_parameters())
        return [key for key in tree if key in known]


class Algorithm(MovingAverage):
    """Base of the federated algorithms.

    A subclass names what is ``shared``, and gives ``run`` (client) and ``aggregate`` (server). The moving average of
    the generator works for all of them.
    """

    needs_label_counts: ClassVar[bool] = False
    """Whether every client must say how many images of each class it holds."""

    own_weighting: ClassVar[bool] = False
    """Whether the algorithm says itself how much each client counts."""

    counts_alike: ClassVar[bool] = False
    """Whether each client counts once in its means, whatever ``weighting`` says."""

    averages_weights: ClassVar[bool] = True
    """Whether replies are weights under their own names, of which the server goes on with ``ServerContext.mean``."""

    takes_means_alone: ClassVar[bool] = False
    """Whether the server's half uses arrays of replies in ``ServerContext.mean`` alone, and looks at no single one:
    what ``aggregate="secure-mean"`` needs, under which every reply holds the mean of all, and ``privacy="client"``, as
    such a mean gets noise."""

    private_mechanism: ClassVar[PrivateMechanism] = ""
    """What noise is added to under a promise of privacy: ``steps``, the gradients of ``LocalTrainer.fit``, where
    nothing else of ``run`` looks at examples; ``sums`` over all examples, once a run. Empty: no promise can be kept."""

    fitting: ClassVar[Fitting] = "steps"
    """How it fits models; those of another ``Model.fitting`` are refused. ``counts``, of any length, and ``moments``
    are what clients send once, and the server adds up."""

    @property
    def means_per_round(self) -> int:
        """How many means of replies the server takes in a round."""
        return 1

    @property
    def ends_otherwise(self) -> bool:
        """Whether the last rounds do what no earlier ones do, so that a run may not end before them."""
        return False

    @property
    def publishes_model(self) -> bool:
        """Whether a generator reaches the server, to be scored and published."""
        return True

    def check(self, objective: Objective, aggregator: Aggregator, model: Model) -> None:
        """Checks that the algorithm can work with an objective, an aggregator and a model; by default it can with any.

        Raises:
            ConfigError: It cannot; says why, and which it can.
        """

    def shared(self, parameters: Tree, roles: Roles) -> dict[str, Tensor]:
        """Returns the part of all weights that travels; the rest stays with its client."""
        return dict(parameters)

    def init(self, parameters: Tree, roles: Roles) -> ServerState:
        """Returns the state before the first round, from the initial weights of all networks and what each is for."""
        shared = self.shared(parameters, roles)
        average = select(shared, roles.published) if self.ema_half_life > 0 else {}
        return ServerState(round=0, parameters=shared, average=average)

    def cohort(self, size: int, round: int, context: ServerContext) -> list[int]:
        """Returns the partition ids of a round's clients, ascending: a function of the seed and the round alone."""
        ids = list(context.clients)
        if size < len(ids):
            ids = numpy_generator(context.seed, "cohort", round).choice(ids, size=size, replace=False).tolist()
        return sorted(ids)

    def broadcast(self, state: ServerState, cohort: Sequence[int], context: ServerContext) -> dict[int, Payload]:
        """Returns what each client of the round gets; ``cohort`` holds partition ids in ascending order."""
        payload = Payload(state.parameters)
        return dict.fromkeys(cohort, payload)

    def run(self, payload: Payload, trainer: LocalTrainer, memory: Memory, partition: int) -> Reply:
        """Trains on one client, reading and updating its ``memory``, and returns what goes back."""
        raise NotImplementedError

    def received(self, arrays: Tree, published: Sequence[str]) -> Tree:
        """Returns what entries of a reply are updates of, by their names, for transforms.

        Args:
            arrays: Of the payload.
            published: The networks that are.
        """
        return arrays

    def reply_template(self, state: ServerState, context: ServerContext) -> Tree:
        """Returns the arrays of a reply that changed nothing.

        A reply is admitted if its arrays have these keys, shapes and dtypes.
        """
        return state.parameters

    def origins(self, state: ServerState, partition: int, template: Tree) -> list[Tree]:
        """Returns what the client may have started from, with the keys of ``template``; by default that alone.

        Its update is the difference to the nearest.
        """
        return [template]

    def reply_parts(self, template: Tree) -> list[Tree]:
        """Returns the parts of a reply whose updates differ in size; each has a limit of its own to its norm."""
        return [template]

    def check_reply(self, reply: Reply, context: ServerContext) -> None:
        """Checks values of a reply that has the arrays of ``reply_template``; by default any finite ones will do.

        Raises:
            ProtocolError: They cannot be what ``run`` returns.
        """

    def aggregate(self, state: ServerState, replies: Sequence[Reply], context: ServerContext) -> ServerState:
        """Returns the state with new ``parameters`` and ``slots``; ``replies`` in order of partition, not empty."""
        raise NotImplementedError

    def incidents(self, state: ServerState, replies: Sequence[Reply], context: ServerContext) -> dict[int, str]:
        """Returns what the journal is to say of clients that were asked and left out, by partition; by default nothing.

        Takes what ``aggregate`` takes.
        """
        return {}

    def update(self, state: ServerState, replies: Sequence[Reply], context: ServerContext) -> ServerState:
        """Returns the state after a round; the order of ``replies`` does not matter. No reply: the same state.

        Raises:
            FederationError: Fewer replies than ``context.aggregator`` needs.
        """
        if not replies:
            return state
        replies = sorted(replies, key=lambda reply: reply.partition)
        after = self.aggregate(state, replies, context)
        after = replace(after, round=state.round + 1)
        return replace(after, average=self.next_average(state, after, replies, context)) if after.average else after

    def next_average(
        self, before: ServerState, after: ServerState, replies: Sequence[Reply], context: ServerContext
    ) -> Tree:
        """Returns the moving average of the published networks after a round; ``replies`` in order of partition."""
        was, now = (select(state.parameters, context.model.roles.published) for state in (before, after))
        return self.moving_average(after.average, was, now, after.round)


def require_weights(algorithm: Algorithm, aggregator: Aggregator) -> None:
    """Checks that an aggregator looks at weights, for an algorithm that is made of them.

    Raises:
        ConfigError: It gives each client one vote.
    """
    if aggregator.one_vote_each:
        raise ConfigError(
            f"aggregate={aggregator.spec()!r} gives each client one vote, and algorithm="
            f"{algorithm.component_name()!r} is its weights: only aggregate='mean' takes them"
        )
