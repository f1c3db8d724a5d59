"""One generator on the server against the one discriminator that all clients' odds make together."""

from typing import ClassVar

import torch
from torch import Tensor

from common.aggregators import Aggregator
from common.algorithms.central import CentralGenerator, require_mean
from common.errors import ConfigError
from common.models import Model
from common.objectives import Objective
from common.objectives.non_saturating import NonSaturating


class UAGAN(CentralGenerator):
    """The generator descends its loss before the mixture D = r / (1 + r), r = sum_k pi_k(y) D_k / (1 - D_k).

    D_k is client k's probability that an image is real, and pi_k(y) its share of the round's images with label y: the
    mixture is the optimal discriminator of all data together if each D_k is that of its own. In logits, which are
    log-odds under the logistic loss alone, log r = log sum_k pi_k(y) exp(logit_k). The penalty is the paper's.
    """

    source: ClassVar[str] = "Zhang, Qu, Chang, Liu, Metaxas, Chen 2021 (arXiv 2102.04655), eq. 3 to 6"

    needs_label_counts = True

    def check(self, objective: Objective, aggregator: Aggregator, model: Model) -> None:
        super().check(objective, aggregator, model)
        require_mean(self, aggregator, "mixes the clients' odds")
        if not isinstance(objective, NonSaturating):
            raise ConfigError(
                f"objective={objective.spec()!r}: algorithm='ua-gan' mixes odds, and logits are log-odds under the "
                'logistic loss alone: take objective="non-saturating"'
            )

    def mixed(self, logits: Tensor, shares: Tensor) -> Tensor:
        return torch.logsumexp(logits + shares.log(), dim=0)
