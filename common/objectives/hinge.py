"""Hinge loss."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from common.objectives.adversarial import AdversarialObjective


class Hinge(AdversarialObjective):
    """L_D = E max(0, 1 - D(x)) + E max(0, 1 + D(G(z))); L_G = -E D(G(z))."""

    source: ClassVar[str] = "Lim, Ye 2017 (arXiv 1705.02894); Miyato et al. 2018 (arXiv 1802.05957), eq. 16 and 17"

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return F.relu(1.0 - real_logits).mean() + F.relu(1.0 + fake_logits).mean()

    def generator_loss(self, fake_logits: Tensor) -> Tensor:
        return -fake_logits.mean()
