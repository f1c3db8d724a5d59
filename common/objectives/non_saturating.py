"""Non-saturating logistic loss."""

from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from common.objectives.adversarial import AdversarialObjective


class NonSaturating(AdversarialObjective):
    """L_D = E softplus(-D(x)) + E softplus(D(G(z))); L_G = E softplus(-D(G(z))), with D(.) a logit.

    These are -E log sigmoid(D(x)) - E log(1 - sigmoid(D(G(z)))) and -E log sigmoid(D(G(z))). With label smoothing s the
    first term is the cross-entropy to the target 1 - s: (1 - s) E softplus(-D(x)) + s E softplus(D(x)).
    """

    source: ClassVar[str] = "Goodfellow et al. 2014 (arXiv 1406.2661), eq. 1 and the G loss of section 3"

    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="the target of real images is 1 minus this (one-sided, Salimans et al. 2016)"
    )

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        real_loss = F.softplus(-real_logits).mean()
        if self.label_smoothing:
            real_loss = real_loss.lerp(F.softplus(real_logits).mean(), self.label_smoothing)
        return real_loss + F.softplus(fake_logits).mean()

    def generator_loss(self, fake_logits: Tensor) -> Tensor:
        return F.softplus(-fake_logits).mean()
