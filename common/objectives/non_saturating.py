"""Non-saturating logistic loss."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from common.objectives.base import AdversarialObjective


class NonSaturating(AdversarialObjective):
    """L_D = E softplus(-D(x)) + E softplus(D(G(z))); L_G = E softplus(-D(G(z))), with D(.) a logit.

    These are -E log sigmoid(D(x)) - E log(1 - sigmoid(D(G(z)))) and -E log sigmoid(D(G(z))).
    """

    source: ClassVar[str] = "Goodfellow et al. 2014 (arXiv 1406.2661), eq. 1 and the G loss of section 3"

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()

    def generator_loss(self, fake_logits: Tensor) -> Tensor:
        return F.softplus(-fake_logits).mean()
