"""What a federated algorithm is: a server half and a client half in one transport-free object."""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from pydantic import Field
from torch import Tensor, nn

from common.aggregators import Aggregator, Mean
from common.components import Component
from common.tree import Tree, interpolate, select

MEAN = Mean()
"""What ``Algorithm.update`` uses unless told otherwise."""

Memory = MutableMapping[str, Tree]
"""What a client keeps for itself from round to round: named trees. Never leaves the client."""


@dataclass(frozen=True)
class ServerState:
    """Everything that the server carries over a round.

    Attributes:
        round: Rounds done.
        parameters: The shared weights.
        average: Moving average of the shared generator, or empty where the algorithm keeps none.
        slots: Further trees by name, of the algorithm's own (moments of a server optimizer, control variates).
    """

    round: int
    parameters: Tree
    average: Tree = field(default_factory=dict)
    slots: Mapping[str, Tree] = field(default_factory=dict)

    def generator(self) -> dict[str, Tensor]:
        """Returns the generator to score and publish: the average if there is one; empty if none is shared."""
        return select(self.average or self.parameters, ["generator"])


@dataclass(frozen=True)
class Payload:
    """What the server sends to one client in one round."""

    arrays: Tree
    scalars: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """What a client sends back.

    Attributes:
        partition: The client's partition id, >= 0.
        num_examples: Images that the client holds.
        arrays: Trained weights, or whatever the algorithm exchanges.
        metrics: Means over the client's local steps: losses by phase, ``d-real``, ``d-fake``, ``seconds``, ...
    """

    partition: int
    num_examples: int
    arrays: Tree
    metrics: Mapping[str, float] = field(default_factory=dict)


class LocalTrainer(Protocol):
    """The verbs that client halves are made of; implemented by ``client.trainer.Trainer``."""

    @property
    def num_examples(self) -> int:
        """Images in the client's shard."""

    def initial(self) -> Tree:
        """Returns the weights that every client and the server start from (a function of the run's seed)."""

    def load(self, tree: Tree) -> None:
        """Copies ``tree`` into the networks; networks it does not name stay as they are."""

    def fit(
        self,
        *,
        extra_loss: Callable[[str, nn.Module], Tensor] | None = None,
        gradient_hook: Callable[[str, nn.Module], None] | None = None,
    ) -> dict[str, float]:
        """Trains for the configured local steps and returns the means of losses and diagnostics.

        Args:
            extra_loss: Called with the name and the network that a phase steps; its scalar is added to the loss.
            gradient_hook: Called likewise after the backward pass; may change ``parameter.grad`` in place.
        """

    def parameters(self) -> dict[str, Tensor]:
        """Returns a copy of all weights and buffers, on the CPU."""


class Algorithm(Component):
    """Base of the federated algorithms.

    A subclass names what is ``shared``, and gives ``run`` (client) and ``aggregate`` (server). The moving average of
    the generator works for all of them.
    """

    ema_half_life: float = Field(
        2.0, ge=0, description="half-life, in rounds, of the server's moving average of the generator; 0: off"
    )
    ema_ramp: float = Field(
        0.1, gt=0, le=1, description="the half-life is at most this share of the rounds done, to forget the start"
    )

    def shared(self, parameters: Tree) -> dict[str, Tensor]:
        """Returns the part of all weights that travels; the rest stays with its client."""
        return dict(parameters)

    def init(self, parameters: Tree) -> ServerState:
        """Returns the state before the first round, from the initial weights of all networks."""
        shared = self.shared(parameters)
        average = select(shared, ["generator"]) if self.ema_half_life > 0 else {}
        return ServerState(round=0, parameters=shared, average=average)

    def broadcast(self, state: ServerState, cohort: Sequence[int]) -> dict[int, Payload]:
        """Returns what each client of the round gets; ``cohort`` holds partition ids in ascending order."""
        payload = Payload(state.parameters)
        return dict.fromkeys(cohort, payload)

    def run(self, payload: Payload, trainer: LocalTrainer, memory: Memory, partition: int) -> Reply:
        """Trains on one client, reading and updating its ``memory``, and returns what goes back."""
        raise NotImplementedError

    def reply_template(self, state: ServerState) -> Tree:
        """Returns the arrays of a reply that changed nothing.

        A reply is admitted if its arrays have these keys, shapes and dtypes, and an update is the difference to these.
        """
        return state.parameters

    def aggregate(self, state: ServerState, replies: Sequence[Reply], aggregator: Aggregator) -> ServerState:
        """Returns the state with new ``parameters`` and ``slots``.

        Args:
            state: Before the round.
            replies: In order of partition, not empty.
            aggregator: What makes one tree out of the clients', wherever the algorithm would take their mean.
        """
        raise NotImplementedError

    def update(self, state: ServerState, replies: Sequence[Reply], aggregator: Aggregator = MEAN) -> ServerState:
        """Returns the state after a round; the order of ``replies`` does not matter. No reply: the same state.

        Raises:
            FederationError: Fewer replies than ``aggregator`` needs.
        """
        if not replies:
            return state
        state = self.aggregate(state, sorted(replies, key=lambda reply: reply.partition), aggregator)
        state = replace(state, round=state.round + 1)
        if not state.average:
            return state
        half_life = min(self.ema_half_life, self.ema_ramp * state.round)
        keep = 0.5 ** (1.0 / half_life)
        return replace(state, average=interpolate(state.average, select(state.parameters, ["generator"]), keep))
