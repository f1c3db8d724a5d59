"""Least-squares loss."""

from typing import ClassVar

from torch import Tensor

from common.objectives.base import AdversarialObjective


class LSGAN(AdversarialObjective):
    """L_D = 1/2 E (D(x) - 1)^2 + 1/2 E D(G(z))^2; L_G = 1/2 E (D(G(z)) - 1)^2: targets 1 for real and 0 for fake."""

    source: ClassVar[str] = "Mao et al. 2017 (arXiv 1611.04076), eq. 2 with a = 0, b = c = 1 (eq. 9)"

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return 0.5 * (real_logits - 1.0).square().mean() + 0.5 * fake_logits.square().mean()

    def generator_loss(self, fake_logits: Tensor) -> Tensor:
        return 0.5 * (fake_logits - 1.0).square().mean()
