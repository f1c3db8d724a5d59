"""What an objective is: phases, each of which steps some networks down one loss.

The loop in ``client/trainer.py`` knows phases and nothing of any GAN, so a family with one phase (a variational
autoencoder, say) is an objective file and a model file.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from common.components import Component
from common.datasets.base import ImageShape
from common.objectives.augment import change, parse_changes, require_colour


@dataclass(frozen=True)
class Batch:
    """What one phase may look at; every field is drawn by the loop from the client's own generator.

    Attributes:
        images: Real images (B, C, S, S), float32 in [-1, 1]; none (B = 0) in a phase that does not look at any.
        labels: Their labels (B,), int64.
        latents: Standard normal (B, Z), float32.
        fake_labels: Labels (B,) to generate images for, drawn from the client's own label distribution.
        uniforms: Uniform in [0, 1) (B,), float32: interpolation points and the like.
        generator: For further draws, on the CPU; the number of them may depend on nothing but the phase.
        fakes: Images (B, C, S, S) that the discriminator is to tell from real ones, of ``fake_labels``; None: those
            that the generator makes of ``latents``.
        step: How often the client has run this phase before, from round 1 on and as if it had trained in every round.
        kept: What a phase leaves, with its graph, to the one that goes on with its batch (``Phase.goes_on``).
    """

    images: Tensor
    labels: Tensor
    latents: Tensor
    fake_labels: Tensor
    uniforms: Tensor
    generator: torch.Generator
    fakes: Tensor | None = None
    step: int = 0
    kept: dict[str, Tensor] = field(default_factory=dict)


Networks = Mapping[str, nn.Module]
Loss = Callable[[Networks, Batch], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class Phase:
    """One kind of step.

    Attributes:
        name: Names the loss in journals and in errors.
        networks: The networks whose weights this phase steps; the others get no gradient.
        loss: Returns a scalar to minimise, and detached scalars worth watching (``d-real``, ``d-fake``).
        repeats: How often the phase runs in a step, each time on a new batch.
        looks_at_images: Whether the loss uses real images; those of a client are passed over for these phases only.
        after: Called with the stepped network after each update (weight clipping), under no_grad.
        goes_on: Whether it looks at the batch of the phase before it, if there is one, and at what that one kept there:
            the phase before then builds graphs through this one's networks too.
        period: The loss depends on ``Batch.step`` by its remainder after division by this alone; None: in any way.
    """

    name: str
    networks: tuple[str, ...]
    loss: Loss
    repeats: int = 1
    looks_at_images: bool = True
    after: Callable[[nn.Module], None] | None = None
    goes_on: bool = False
    period: int | None = None


class Objective(Component):
    """What local training minimises."""

    def phases(self) -> tuple[Phase, ...]:
        """Returns the phases of one local step, in order."""
        raise NotImplementedError

    def check(self, shape: ImageShape) -> None:
        """Raises ConfigError if the options mean nothing for images of ``shape``."""


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
            Phase("generator", ("generator",), self._generator_phase, looks_at_images=False, goes_on=True, period=1),
        )

    def check(self, shape: ImageShape) -> None:
        require_colour(parse_changes(self.augment), shape)

    def _after(self) -> Callable[[nn.Module], None] | None:
        return None

    def _discriminator_phase(self, networks: Networks, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        discriminator = networks["discriminator"]
        fakes = batch.fakes
        if fakes is None:
            fakes = batch.kept["fakes"] = networks["generator"](batch.latents, batch.fake_labels)
            fakes = fakes.detach()
        penalised = self.r1 > 0 and batch.step % self.r1_every == 0
        images = self._seen(batch.images, batch).detach().requires_grad_(penalised)
        fakes = self._seen(fakes, batch)
        real_logits = discriminator(images, batch.labels)
        fake_logits = discriminator(fakes, batch.fake_labels)
        loss = self.discriminator_loss(real_logits, fake_logits)
        if penalised:
            loss = loss + 0.5 * self.r1 * self.r1_every * squared_gradient_norm(real_logits, images).mean()
        penalty = self.penalty(discriminator, replace(batch, images=images), fakes)
        if penalty is not None:
            loss = loss + penalty
        return loss, {"d-real": real_logits.detach().mean(), "d-fake": fake_logits.detach().mean()}

    def _generator_phase(self, networks: Networks, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        fakes = batch.kept.pop("fakes", None)
        if fakes is None or not fakes.requires_grad:
            fakes = networks["generator"](batch.latents, batch.fake_labels)
        fake_logits = networks["discriminator"](self._seen(fakes, batch), batch.fake_labels)
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
