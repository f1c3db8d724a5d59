"""Least-squares loss."""

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from common.objectives.adversarial import AdversarialObjective


class LSGAN(AdversarialObjective):
    """L_D = 1/2 E (D(x) - 1)^2 + 1/2 E D(G(z))^2; L_G = 1/2 E (D(G(z)) - 1)^2: targets 1 for real and 0 for fake.

    With label smoothing s the discriminator's target of real images is 1 - s; the generator's stays 1.
    """

    source: ClassVar[str] = "Mao et al. 2017 (arXiv 1611.04076), eq. 2 with a = 0, b = c = 1 (eq. 9)"

    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="the target of real images is 1 minus this (one-sided, Salimans et al. 2016)"
    )

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return 0.5 * (real_logits - (1.0 - self.label_smoothing)).square().mean() + 0.5 * fake_logits.square().mean()

    def generator_loss(self, fake_logits: Tensor) -> Tensor:
        return 0.5 * (fake_logits - 1.0).square().mean()
