"""What an objective is: phases, each of which steps some networks down one loss.

The loop in ``client/trainer.py`` knows phases and nothing of any GAN, so a family with one phase (a variational
autoencoder, say) is an objective file and a model file.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from common.charts import Chart, Unit
from common.components import Component
from common.errors import ConfigError
from common.examples import ExampleSpec
from common.models.base import Model


@dataclass(frozen=True)
class Batch:
    """What one phase may look at; everything in it is drawn by the loop from the client's own generator.

    Attributes:
        examples: Real examples (B, ...), as a network takes them; none (B = 0) in a phase that does not use any.
        labels: Their labels (B,), int64.
        draws: What ``Objective.draw`` drew, by name.
        generator: For further draws, on the CPU; the number of them may depend on nothing but the phase. What
            ``Objective.draw`` draws costs less: it is drawn for many steps at once.
        step: How often the client has run this phase before, from round 1 on and as if it had trained in every round.
        carry: What a phase leaves, with its graph, to the one that reuses its batch (``Phase.reuses_batch``).
    """

    examples: Tensor
    labels: Tensor
    draws: Mapping[str, Tensor]
    generator: torch.Generator
    step: int = 0
    carry: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class DrawSource:
    """What an objective draws the random numbers of batches from: of many at once, one batch after the other.

    Attributes:
        size: Rows to draw (R): examples in a batch times batches.
        generator: The client's, on the CPU.
        label_pool: Labels (K,), int64, each as likely as the others to be one that an example is generated for.
        noise_shape: Of the noise that the sampler makes one example of.
        example_shape: Of one example, as a network takes it.
        own_labels: Of the examples that rows go with (R,), which are then those to generate for; None: any of the pool.
    """

    size: int
    generator: torch.Generator
    label_pool: Tensor
    noise_shape: tuple[int, ...]
    example_shape: tuple[int, ...]
    own_labels: Tensor | None = None

    def labels(self) -> Tensor:
        """Draws labels (R,), int64, to generate examples for."""
        if self.own_labels is not None:
            return self.own_labels
        return self.label_pool[torch.randint(len(self.label_pool), (self.size,), generator=self.generator)]

    def noise(self) -> Tensor:
        """Draws standard normal noise (R, *noise_shape), float32."""
        return self.normals(*self.noise_shape)

    def normals(self, *shape: int) -> Tensor:
        """Draws standard normal numbers (R, *shape), float32."""
        return torch.randn(self.size, *shape, generator=self.generator)

    def uniforms(self, *shape: int) -> Tensor:
        """Draws numbers (R, *shape), float32, uniform in [0, 1)."""
        return torch.rand(self.size, *shape, generator=self.generator)


Networks = Mapping[str, nn.Module]
LossFunction = Callable[[Networks, Batch], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class Phase:
    """One kind of step.

    Attributes:
        name: Names the phase in errors, and its loss in journals (``loss_name``).
        networks: The networks whose weights this phase steps; the others get no gradient.
        loss: Returns a scalar to minimise, and detached scalars worth watching (``Objective.diagnostics``).
        repeats: How often the phase runs in a step, each time on a new batch.
        uses_examples: Whether the loss uses real examples; those of a client are passed over for these phases only.
        after: Called with the stepped network after each update (weight clipping), under no_grad.
        reuses_batch: Whether it takes the batch of the phase before it in the step, if there is one, and what that one
            left in its ``carry``: the phase before then builds graphs through this one's networks too.
        period: The loss depends on ``Batch.step`` by its remainder after division by this alone; None: in any way.
    """

    name: str
    networks: tuple[str, ...]
    loss: LossFunction
    repeats: int = 1
    uses_examples: bool = True
    after: Callable[[nn.Module], None] | None = None
    reuses_batch: bool = False
    period: int | None = None

    @property
    def loss_name(self) -> str:
        """The name of its loss in journals."""
        return f"{self.name}-loss"


LOSSES = Chart("losses", "Losses", "Means over clients, weighted by examples.")


@dataclass(frozen=True)
class Diagnostic:
    """A figure that the phases of an objective tell beside their losses.

    Attributes:
        name: In journals; kebab-case.
        label: What people call it.
        chart: Where it is drawn over the rounds.
        other: Another unit in which it is told; None: there is none.
    """

    name: str
    label: str
    chart: Chart
    other: Unit | None = None


@dataclass(frozen=True)
class Loss(Diagnostic):
    """What a phase minimises; its name is the phase's ``loss_name``."""

    chart: Chart = LOSSES


class Objective(Component):
    """What local training minimises."""

    def phases(self) -> tuple[Phase, ...]:
        """Returns the phases of one local step, in order."""
        raise NotImplementedError

    def losses(self) -> tuple[Loss, ...]:
        """Returns what its losses are called, in the order of its phases; by default as they are."""
        return tuple(Loss(phase.loss_name, f"{phase.name} loss") for phase in self.phases())

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Returns what its phases tell beside their losses; by default nothing."""
        return ()

    def trouble(self, recent: Sequence[Mapping[str, float]]) -> str | None:
        """Returns in a sentence what the figures of the latest rounds show to be wrong; None: nothing.

        Args:
            recent: Means over clients of losses and diagnostics, by name, of at least one round.
        """
        return None

    def draw(self, source: DrawSource) -> dict[str, Tensor]:
        """Draws what batches take beside examples, by name, with ``source.size`` rows each; by default nothing.

        It is called for many batches of a phase at once: the first rows are those of the first batch, and so on. So a
        row may depend on nothing but the objective and ``source``: not on other rows, nor on how many there are.
        """
        return {}

    def check(self, spec: ExampleSpec) -> None:
        """Raises ConfigError if the options mean nothing for examples of ``spec``."""

    def _trained(self) -> list[str]:
        return list(dict.fromkeys(name for phase in self.phases() for name in phase.networks))

    def fits(self, model: Model) -> bool:
        """Returns whether the model has the networks that the phases train."""
        return set(self._trained()) <= set(model.roles.networks)

    def check_model(self, model: Model) -> None:
        """Checks that the model has the networks that the phases train.

        Raises:
            ConfigError: It has not; says which these are.
        """
        trained = self._trained()
        if lacking := [name for name in trained if name not in model.roles.networks]:
            raise ConfigError(
                f"objective={self.component_name()!r} trains {' and '.join(trained)}; model={model.component_name()!r} "
                f"has {' and '.join(model.roles.networks)}, no {' and no '.join(lacking)}"
            )
