"""Wasserstein loss with weight clipping."""

from collections.abc import Callable
from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from common.objectives.adversarial import AdversarialObjective


class WGAN(AdversarialObjective):
    """L_D = E D(G(z)) - E D(x), weights of D clipped to [-clip, clip] after each update; L_G = -E D(G(z)).

    Deviation: Adam as everywhere in this project, where the paper takes RMSProp.
    """

    is_logistic: ClassVar[bool] = False
    source: ClassVar[str] = "Arjovsky, Chintala, Bottou 2017 (arXiv 1701.07875), algorithm 1"

    critic_steps: int = Field(5, ge=1, le=100, description="discriminator updates for each generator update")
    clip: float = Field(0.01, gt=0, description="largest absolute value of a discriminator weight")

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return fake_logits.mean() - real_logits.mean()

    def generator_loss(self, fake_logits: Tensor) -> Tensor:
        return -fake_logits.mean()

    def _after(self) -> Callable[[nn.Module], None]:
        def clip(discriminator: nn.Module) -> None:
            for weight in discriminator.parameters():
                weight.clamp_(-self.clip, self.clip)

        return clip
