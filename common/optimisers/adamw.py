"""Adam with decoupled weight decay."""

from typing import ClassVar

from pydantic import Field

from common.optimisers.adam import Adam


class AdamW(Adam):
    """As ``adam``, after w <- (1 - rate weight-decay) w; to the bit as ``torch.optim.AdamW(fused=True)``."""

    source: ClassVar[str] = "Loshchilov, Hutter 2019 (arXiv 1711.05101), algorithm 2"

    beta1: float = Field(0.9, ge=0, lt=1, description="decay of the first moment")
    beta2: float = Field(0.99, ge=0, lt=1, description="decay of the second moment")
    weight_decay: float = Field(0.01, ge=0, description="share of the weights, times the rate, that goes at each step")

    def decay(self) -> float:
        return self.weight_decay
