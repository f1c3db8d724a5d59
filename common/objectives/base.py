"""What an objective is: phases, each of which steps some networks down one loss.

The loop in ``client/trainer.py`` knows phases and nothing of any GAN, so a family with one phase (a variational
autoencoder, say) is an objective file and a model file.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from common.charts import Chart
from common.components import Component
from common.errors import ConfigError
from common.examples import ExampleSpec
from common.models.base import Model
from common.objectives.augment import change, parse_changes, require_colour


@dataclass(frozen=True)
class Batch:
    """What one phase may look at; everything in it is drawn by the loop from the client's own generator.

    Attributes:
        examples: Real examples (B, ...), as a network takes them; none (B = 0) in a phase that does not use any.
        labels: Their labels (B,), int64.
        draws: What ``Objective.draw`` drew, by name.
        generator: For further draws, on the CPU; the number of them may depend on nothing but the phase.
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
    """What an objective draws a batch's random numbers from.

    Attributes:
        size: Examples in a batch.
        generator: The client's, on the CPU.
        label_pool: Labels (K,), int64, each as likely as the others to be one that an example is generated for.
        noise_shape: Of the noise that the sampler makes one example of.
        example_shape: Of one example, as a network takes it.
    """

    size: int
    generator: torch.Generator
    label_pool: Tensor
    noise_shape: tuple[int, ...]
    example_shape: tuple[int, ...]

    def labels(self) -> Tensor:
        """Draws labels (B,), int64, to generate examples for."""
        return self.label_pool[torch.randint(len(self.label_pool), (self.size,), generator=self.generator)]

    def noise(self) -> Tensor:
        """Draws standard normal noise (B, *noise_shape), float32."""
        return torch.randn(self.size, *self.noise_shape, generator=self.generator)

    def uniforms(self) -> Tensor:
        """Draws numbers (B,), float32, uniform in [0, 1)."""
        return torch.rand(self.size, generator=self.generator)


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
        reuses_batch: Whether it takes the batch of the phase before it, if there is one, and what that one left in its
            ``carry``: the phase before then builds graphs through this one's networks too.
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


LOSSES = Chart("losses", "Losses", "Means over clients, weighted by images.")


@dataclass(frozen=True)
class Diagnostic:
    """A figure that the phases of an objective tell beside their losses.

    Attributes:
        name: In journals; kebab-case.
        label: What people call it.
        chart: Where it is drawn over the rounds.
    """

    name: str
    label: str
    chart: Chart


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
        """Draws what a batch takes beside examples, by name, with B rows each; by default nothing.

        Their number and order may depend on nothing but the objective and ``source``.
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


_SURE = 4.6  # a logit of which the sigmoid is 0.99
_LOGITS = Chart(
    "logits",
    "D(real) and D(fake)",
    "The discriminator's logits. Far apart: it tells real from generated easily; together: it cannot.",
)


class AdversarialObjective(Objective):
    """Base of the adversarial losses: D tells real from fake, G makes D(G(z)) look real; R1 with any of them.

    A subclass gives two losses on logits. Each phase steps its own network only, first the discriminator; the generator
    is judged by the new one on the fakes that the step was on, made once for both (after several critic steps, the last
    one's). With ``augment`` or ``instance_noise`` the discriminator sees
    changed images only, real and fake, in both phases; R1 is the gradient at what it sees. Lazy R1 (Karras
    et al. 2020, arXiv 1912.04958, appendix B) leaves Adam's decays as they are, where the paper adapts them.
    """

    r1: float = Field(
        0.0, ge=0, description="weight of gamma/2 E|grad D(x)|^2 on real images (Mescheder et al. 2018, eq. 9); 0: off"
    )
    r1_every: int = Field(
        1, ge=1, description="steps of the discriminator between two with R1, whose weight is as many times larger"
    )
    augment: str = Field(
        "", description="DiffAugment of what D sees: any of color, translation, cutout, by comma; empty: off"
    )
    instance_noise: float = Field(
        0.0, ge=0, description="standard deviation of Gaussian noise on what D sees (Sonderby et al. 2017); 0: off"
    )
    is_logistic: ClassVar[bool] = True
    """Whether a logit of the discriminator is near the log-odds that an image is real; a critic's is a distance."""

    critic_steps: int = Field(1, ge=1, le=100, description="discriminator updates for each generator update")

    @field_validator("augment")
    @classmethod
    def _in_order(cls, text: str) -> str:
        return ",".join(parse_changes(text))

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Returns the scalar that the discriminator minimises; ``real_logits`` (B,) = D(x), ``fake_logits`` D(G(z))."""
        raise NotImplementedError

    def generator_loss(self, fake_logits: Tensor) -> Tensor:
        """Returns the scalar that the generator minimises; ``fake_logits`` (B,) = D(G(z))."""
        raise NotImplementedError

    def penalty(self, discriminator: nn.Module, batch: Batch, fakes: Tensor) -> Tensor | None:
        """Returns a further term of the discriminator's loss on fakes (B, C, S, S), or None."""
        return None

    def draw(self, source: DrawSource) -> dict[str, Tensor]:
        """Draws ``fake-labels`` (B,), the ``latents`` (B, Z) of fakes, and ``uniforms`` (B,) for penalties.

        A caller of ``LocalTrainer.fit`` may give ``fakes`` (B, C, S, S) of these labels, instead of the generator's.
        """
        return {"fake-labels": source.labels(), "latents": source.noise(), "uniforms": source.uniforms()}

    def phases(self) -> tuple[Phase, ...]:
        return (
            Phase(
                "discriminator",
                ("discriminator",),
                self._discriminator_phase,
                self.critic_steps,
                after=self._after(),
                period=self.r1_every,
            ),
            Phase("generator", ("generator",), self._generator_phase, uses_examples=False, reuses_batch=True, period=1),
        )

    def losses(self) -> tuple[Loss, ...]:
        return Loss("discriminator-loss", "D loss"), Loss("generator-loss", "G loss")

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        return Diagnostic("d-real", "D(real)", _LOGITS), Diagnostic("d-fake", "D(fake)", _LOGITS)

    def trouble(self, recent: Sequence[Mapping[str, float]]) -> str | None:
        nan = float("nan")  # of what a round does not tell, which is never sure
        logits = [(means.get("d-real", nan), means.get("d-fake", nan)) for means in recent]
        if not self.is_logistic or not all(real > _SURE and fake < -_SURE for real, fake in logits):
            return None
        real, fake = logits[-1]
        return (
            f"The discriminator tells real from generated images nearly always (D(real) {real:.1f}, D(fake) "
            f"{fake:.1f}, for {len(recent)} rounds): the generator learns little from it. R1 or DiffAugment help."
        )

    def check(self, spec: ExampleSpec) -> None:
        require_colour(parse_changes(self.augment), spec)

    def _after(self) -> Callable[[nn.Module], None] | None:
        return None

    def _discriminator_phase(self, networks: Networks, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        discriminator = networks["discriminator"]
        labels = batch.draws["fake-labels"]
        fakes = batch.draws.get("fakes")
        if fakes is None:
            fakes = batch.carry["fakes"] = networks["generator"](batch.draws["latents"], labels)
            fakes = fakes.detach()
        penalised = self.r1 > 0 and batch.step % self.r1_every == 0
        images = self._seen(batch.examples, batch).detach().requires_grad_(penalised)
        fakes = self._seen(fakes, batch)
        real_logits = discriminator(images, batch.labels)
        fake_logits = discriminator(fakes, labels)
        loss = self.discriminator_loss(real_logits, fake_logits)
        if penalised:
            loss = loss + 0.5 * self.r1 * self.r1_every * squared_gradient_norm(real_logits, images).mean()
        penalty = self.penalty(discriminator, replace(batch, examples=images), fakes)
        if penalty is not None:
            loss = loss + penalty
        return loss, {"d-real": real_logits.detach().mean(), "d-fake": fake_logits.detach().mean()}

    def _generator_phase(self, networks: Networks, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        labels = batch.draws["fake-labels"]
        fakes = batch.carry.pop("fakes", None)
        if fakes is None or not fakes.requires_grad:
            fakes = networks["generator"](batch.draws["latents"], labels)
        fake_logits = networks["discriminator"](self._seen(fakes, batch), labels)
        return self.generator_loss(fake_logits), {}

    def _seen(self, images: Tensor, batch: Batch) -> Tensor:
        """Returns images (B, C, S, S) as the discriminator sees them; those very images if nothing changes them."""
        images = change(images, parse_changes(self.augment), batch.generator)
        if self.instance_noise > 0:
            noise = torch.randn(images.shape, generator=batch.generator).to(images.device)
            images = images + self.instance_noise * noise
        return images


def squared_gradient_norm(logits: Tensor, images: Tensor) -> Tensor:
    """Returns |d sum(logits) / d x|^2 of every image (B,), with a graph, for gradient penalties."""
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.float().square().flatten(1).sum(1)
