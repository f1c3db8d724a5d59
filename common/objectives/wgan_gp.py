"""Wasserstein loss with gradient penalty."""

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from common.objectives.adversarial import AdversarialObjective, squared_gradient_norm
from common.objectives.base import Batch


class WGANGP(AdversarialObjective):
    """L_D = E D(G(z)) - E D(x) + gp_weight E (|grad D(x')| - 1)^2 at x' = e x + (1 - e) G(z); L_G = -E D(G(z)).

    For a conditional discriminator the point x' carries the label of its real image.
    """

    is_logistic: ClassVar[bool] = False
    source: ClassVar[str] = "Gulrajani et al. 2017 (arXiv 1704.00028), eq. 3 and algorithm 1"

    critic_steps: int = Field(5, ge=1, le=100, description="discriminator updates for each generator update")
    gp_weight: float = Field(10.0, gt=0, description="weight lambda of the gradient penalty")

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return fake_logits.mean() - real_logits.mean()

    def generator_loss(self, fake_logits: Tensor) -> Tensor:
        return -fake_logits.mean()

    def penalty(self, discriminator: nn.Module, batch: Batch, fakes: Tensor) -> Tensor:
        share = batch.draws["uniforms"].view(-1, 1, 1, 1)
        between = (share * batch.examples + (1.0 - share) * fakes).detach().requires_grad_(True)
        norms = squared_gradient_norm(discriminator(between, batch.labels), between).add(1e-12).sqrt()
        return self.gp_weight * (norms - 1.0).square().mean()
