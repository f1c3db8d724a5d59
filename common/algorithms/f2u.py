"""One generator on the server, which has to convince one discriminator only: the most forgiving."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from common.aggregators import Aggregator
from common.algorithms.base import ServerContext
from common.algorithms.central import CentralGenerator, require_mean
from common.models import Model
from common.objectives import Objective


class F2U(CentralGenerator):
    """The generator descends its loss before max_k D_k: an image is real if it is so to any one client.

    Deviation: with ``by-label``, where clients disclose their labels, the largest logit is taken over the clients that
    hold the image's label, as the others' discriminators have never seen what such an image looks like.
    """

    source: ClassVar[str] = "Yonetani, Takahashi, Hashimoto, Ushiku 2019 (arXiv 1905.09684), forgiver-first update"

    by_label: bool = Field(True, description="only clients that hold an image's label may forgive it")

    def check(self, objective: Objective, aggregator: Aggregator, model: Model) -> None:
        super().check(objective, aggregator, model)
        require_mean(self, aggregator, "takes the largest of the clients' logits")

    def shares(self, partitions: Sequence[int], labels: Tensor, context: ServerContext) -> Tensor:
        if self.by_label:
            return super().shares(partitions, labels, context)
        return torch.full((len(partitions), len(labels)), 1.0 / len(partitions), dtype=torch.float64)

    def mixed(self, logits: Tensor, shares: Tensor) -> Tensor:
        return logits.masked_fill(shares == 0, -torch.inf).amax(0)
