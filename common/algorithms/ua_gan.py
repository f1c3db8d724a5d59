"""One generator on the server against the one discriminator that all clients' odds make together."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from common.aggregators import Aggregator
from common.algorithms.central import DISCRIMINATOR, CentralGenerator, require_mean
from common.errors import ConfigError
from common.exchange import LocalTrainer, Payload
from common.objectives import Objective
from common.objectives.base import squared_gradient_norm
from common.objectives.non_saturating import NonSaturating


class UAGAN(CentralGenerator):
    """The generator descends its loss before the mixture D = r / (1 + r), r = sum_k pi_k(y) D_k / (1 - D_k).

    D_k is client k's probability that an image is real, and pi_k(y) its share of the round's images with label y: the
    mixture is the optimal discriminator of all data together if each D_k is that of its own. In logits, which are
    log-odds under the logistic loss alone, log r = log sum_k pi_k(y) exp(logit_k). Discriminators have a zero-centred
    gradient penalty on real images, drawn anew from the shard for it.
    """

    source: ClassVar[str] = "Zhang, Qu, Chang, Liu, Metaxas, Chen 2021 (arXiv 2102.04655), eq. 3 to 6"

    needs_label_counts = True

    penalty: float = Field(10.0, ge=0, description="weight of E|grad D(x)|^2 on real images at the clients; 0: off")

    def check(self, objective: Objective, aggregator: Aggregator) -> None:
        super().check(objective, aggregator)
        require_mean(self, aggregator, "mixes the clients' odds")
        if not isinstance(objective, NonSaturating):
            raise ConfigError(
                f"objective={objective.spec()!r}: algorithm='ua-gan' mixes odds, and logits are log-odds under the "
                'logistic loss alone: take objective="non-saturating"'
            )

    def fit(self, payload: Payload, trainer: LocalTrainer, fakes: tuple[Tensor, Tensor]) -> dict[str, float]:
        size, drawn = int(payload.scalars["batch-size"]), 0

        def penalise(name: str, network: nn.Module) -> Tensor:
            nonlocal drawn
            drawn += 1
            images, labels = trainer.real(size, f"penalty-{drawn}")
            looked_at = images.requires_grad_(True)
            return self.penalty * squared_gradient_norm(network(looked_at, labels), looked_at).mean()

        return trainer.fit(networks=(DISCRIMINATOR,), fakes=fakes, extra_loss=penalise if self.penalty else None)

    def mixed(self, logits: Tensor, shares: Tensor) -> Tensor:
        return torch.logsumexp(logits + shares.log(), dim=0)
