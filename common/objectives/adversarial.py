"""What the objectives of GANs share: two losses on logits, the phases of both networks, and what steadies them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from common.charts import Chart
from common.examples import ExampleSpec
from common.objectives.augment import change, num_uniforms, parse_changes, require_colour
from common.objectives.base import Batch, Diagnostic, DrawSource, Loss, Networks, Objective, Phase

_REAL, _FAKE, _JUDGED = (
    "real",
    "fake",
    "judged",
)  # what the discriminator sees: twice in its own phase, then in the other
_SURE = 4.6  # a logit of which the sigmoid is 0.99
_ALIKE = 0.05  # logits that are no further apart do not tell real from generated
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
        """Draws ``fake-labels`` (R,), the ``latents`` (R, Z) of fakes, and ``uniforms`` (R,) for penalties.

        And, where images are changed on their way into the discriminator, what changes real ones, fakes, and fakes in
        the generator's phase: ``<which>-changes`` (R, K) and ``<which>-noise`` (R, C, S, S).
        A caller of ``LocalTrainer.fit`` may give ``fakes`` (B, C, S, S) of these labels, instead of the generator's.
        """
        draws = {"fake-labels": source.labels(), "latents": source.noise(), "uniforms": source.uniforms()}
        for which in (_REAL, _FAKE, _JUDGED):
            if self.augment:
                draws[f"{which}-changes"] = source.uniforms(num_uniforms(parse_changes(self.augment)))
            if self.instance_noise > 0:
                draws[f"{which}-noise"] = source.normals(*source.example_shape)
        return draws

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
        nan = float("nan")  # of what a round does not tell, which is never a sign
        logits = [(means.get("d-real", nan), means.get("d-fake", nan)) for means in recent]
        real, fake = logits[-1]
        seen = f"(D(real) {real:.2f}, D(fake) {fake:.2f}, for {len(recent)} rounds)"
        if self.is_logistic and all(real > _SURE and fake < -_SURE for real, fake in logits):
            r1 = f"A larger r1 than {self.r1:g}" if self.r1 else "R1 (r1=0.3)"
            return (
                f"The discriminator wins: it tells real from generated images nearly always {seen}, and the generator "
                f"learns little from it. {r1} or DiffAugment (augment=) in the objective helps."
            )
        if self.is_logistic and all(abs(real - fake) < _ALIKE for real, fake in logits):
            r1 = f" A smaller r1 than {self.r1:g} helps as well." if self.r1 else ""
            return (
                "The discriminator is dead, or has not begun to learn: it says the same of real and generated images "
                f"{seen}, and the generator learns nothing from it. If it goes on, lower learning rates help "
                "(local.learning-rate, local.peak-steps), or "
                'local.moments="keep", as with Adam\'s moments reset the first steps of each round are at full rate.'
                f"{r1}"
            )
        return None

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
        images = self._seen(_REAL, batch.examples, batch).detach().requires_grad_(penalised)
        fakes = self._seen(_FAKE, fakes, batch)
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
        fake_logits = networks["discriminator"](self._seen(_JUDGED, fakes, batch), labels)
        return self.generator_loss(fake_logits), {}

    def _seen(self, which: str, images: Tensor, batch: Batch) -> Tensor:
        """Returns images (B, C, S, S) as the discriminator sees them; those very images if nothing changes them."""
        if self.augment:
            images = change(images, parse_changes(self.augment), batch.draws[f"{which}-changes"])
        if self.instance_noise > 0:
            images = images + self.instance_noise * batch.draws[f"{which}-noise"]
        return images


def squared_gradient_norm(logits: Tensor, images: Tensor) -> Tensor:
    """Returns |d sum(logits) / d x|^2 of every image (B,), with a graph, for gradient penalties."""
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.float().square().flatten(1).sum(1)
