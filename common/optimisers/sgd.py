"""Stochastic gradient descent."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.optim.sgd import sgd

from common.optimisers.base import Optimiser


class SGD(Optimiser):
    """m <- momentum m + g + weight-decay w, w <- w - rate m; to the bit as ``torch.optim.SGD(fused=True)``."""

    is_elementwise: ClassVar[bool] = True
    source: ClassVar[str] = "Robbins, Monro 1951; momentum: Polyak 1964, in the form of Sutskever et al. 2013"

    momentum: float = Field(0.0, ge=0, lt=1, description="decay of the sum of gradients")
    weight_decay: float = Field(0.0, ge=0, description="share of the weights that is added to the gradient")

    def slots(self, parameter: Tensor) -> dict[str, Tensor]:
        return {"momentum": torch.zeros_like(parameter, requires_grad=False)} if self.momentum else {}

    def advance(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: Mapping[str, list[Tensor]],
        rate: float | Tensor,
    ) -> None:
        buffers: list[Tensor | None] = list(slots["momentum"]) if self.momentum else [None] * len(parameters)
        sgd(
            parameters,
            gradients,
            buffers,
            fused=True,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            lr=rate,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
