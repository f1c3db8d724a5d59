"""Adam."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.optim.adam import adam

from common.optimisers.base import Optimiser

_SLOTS = ("step", "exp_avg", "exp_avg_sq")


class Adam(Optimiser):
    """m <- beta1 m + (1 - beta1) g, v <- beta2 v + (1 - beta2) g^2, w <- w - rate m' / (sqrt(v') + 1e-8).

    m' and v' are m and v over 1 - beta^steps; to the bit as ``torch.optim.Adam(fused=True)``.
    """

    is_elementwise: ClassVar[bool] = True
    source: ClassVar[str] = "Kingma, Ba 2015 (arXiv 1412.6980), algorithm 1"

    beta1: float = Field(0.0, ge=0, lt=1, description="decay of the first moment")
    beta2: float = Field(0.99, ge=0, lt=1, description="decay of the second moment")

    def slots(self, parameter: Tensor) -> dict[str, Tensor]:
        return {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter, requires_grad=False),
            "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
        }

    def advance(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: Mapping[str, list[Tensor]],
        rate: float | Tensor,
    ) -> None:
        steps, first, second = (slots[name] for name in _SLOTS)
        decay = self.decay()
        adam(
            parameters,
            gradients,
            first,
            second,
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=self.beta1,
            beta2=self.beta2,
            lr=rate,
            weight_decay=decay,
            decoupled_weight_decay=decay > 0,
            eps=1e-8,
            maximize=False,
        )

    def decay(self) -> float:
        """Returns the share of the weights, times the rate, that goes at each step."""
        return 0.0
