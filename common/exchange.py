"""What the two halves of an algorithm pass to each other, and what a client's half works with."""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, nn

from common.models.base import Roles
from common.tree import Tree

Memory = MutableMapping[str, Tree]
"""What a client keeps for itself from round to round: named trees. Never leaves the client."""


@dataclass(frozen=True)
class Client:
    """What a client said of itself in the roll call.

    Attributes:
        num_examples: Images that it holds.
        label_counts: Images of each class; None from a site that keeps them to itself.
    """

    num_examples: int
    label_counts: tuple[int, ...] | None = None


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

    @property
    def roles(self) -> Roles:
        """What each network is for."""

    @property
    def round(self) -> int:
        """The round at hand, from 1."""

    def initial(self) -> Tree:
        """Returns the weights that every client and the server start from (a function of the run's seed)."""

    def load(self, tree: Tree) -> None:
        """Copies ``tree`` into the networks; networks it does not name stay as they are."""

    def fit(
        self,
        *,
        networks: Sequence[str] | None = None,
        given: Tree | None = None,
        extra_loss: Callable[[str, nn.Module], Tensor] | None = None,
        gradient_hook: Callable[[str, nn.Module], None] | None = None,
    ) -> dict[str, float]:
        """Trains for the configured local steps and returns the means of losses and diagnostics.

        Args:
            networks: Only phases that step these; None: all phases.
            given: Draws by name (N, ...), see ``Objective.draw``, that phases with real examples take instead of drawn
                ones, a batch after another and again from the first after the last.
            extra_loss: Called with the name and the network that a phase steps; its scalar is added to the loss.
            gradient_hook: Called likewise after the backward pass; may change ``parameter.grad`` in place.
        """

    def count(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Returns the counts that the client's examples make, instead of training, and the means that ``fit`` returns.

        Losses are those of these counts on as many batches as ``fit`` takes. Only of models that are counts
        (``Model.fitting``); the loaded networks stay as they are.
        """

    def parameters(self) -> dict[str, Tensor]:
        """Returns a copy of all weights and buffers, on the CPU."""

    def average_steps(self, kept_share: float) -> None:
        """Has each ``fit`` of this round also take the mean of the published networks over its steps.

        Args:
            kept_share: In [0, 1); what a moving average over all steps of a fit leaves of its value before them.
        """

    def averaged(self) -> dict[str, Tensor]:
        """Returns that mean of the last ``fit``, on the CPU.

        It is (1 - d) / (1 - d^n) sum_i d^(n - i) w_i of the weights w_1 to w_n after its n steps, with d^n the
        ``kept_share``; of what is not floating, w_n.
        """

    def real(self, num: int, scope: str) -> tuple[Tensor, Tensor]:
        """Returns examples (num, ...) and labels (num,) drawn from the shard, on the trainer's device.

        ``scope`` names what they are for: another name gives other draws, the same name the same ones in a round.
        """

    def fake(self, num: int, scope: str) -> tuple[Tensor, Tensor]:
        """Returns examples (num, ...) of the loaded networks, and labels, distributed as the shard's."""

    def noisy_moments(self) -> tuple[Tensor, float]:
        """Returns the sums of outer products of the vectors that the model describes examples by, in each of its parts.

        Rows of upper triangles (parts, D (D + 1) / 2), see ``common.outer_products``, float64 on the CPU; and the
        standard deviation of the noise in each number. Under a promise of privacy that of the client's plan, as one
        release; otherwise 0. Only of models of moments (``Model.fitting``).

        Raises:
            ConfigError: One release more than the plan pays for.
        """

    def feedback(self, examples: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what the loaded adversary says of examples (N, ...) with labels (N,), on the CPU.

        Returns:
            Its logits (N,), and for every example the gradient of its logit (N, ...).
        """
