"""Maximum likelihood of each token, given those before it."""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from common.charts import Chart, Unit
from common.errors import ConfigError
from common.examples import ExampleSpec, TextSpec
from common.examples.text import PAD_TOKEN, UNKNOWN_TOKEN
from common.objectives.base import Batch, Diagnostic, DrawSource, Loss, Networks, Objective, Phase

_BITS = Unit("bits", "next-token loss (bits)", 1 / math.log(2))
ACCURACY = Chart("training-accuracy", "Accuracy in training", "Higher is better.")


class NextToken(Objective):
    """Minimises -log p(x_t | x_1 ... x_t-1, y), in nats, a mean over the tokens of a batch that are not padding.

    With ``label_smoothing`` s the target is 1 - s at the token, s spread over all; with ``dropout`` a share
    of the tokens that are looked at, not of those that are predicted, is replaced by the unknown one.
    """

    source: ClassVar[str] = (
        "Bengio et al. 2003 (JMLR 3), eq. of section 2; label smoothing: Szegedy et al. 2016 (arXiv 1512.00567), 7; "
        "dropout of words: Bowman et al. 2016 (arXiv 1511.06349), 3.1"
    )

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="probability that is spread evenly over all tokens")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of tokens that the network does not get to see")

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("token", ("tokens",), self._loss, period=1),)

    def losses(self) -> tuple[Loss, ...]:
        return (Loss("token-loss", "next-token loss (nats)", other=_BITS),)

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        return (Diagnostic("training-accuracy", "next-token accuracy", ACCURACY),)

    def check(self, spec: ExampleSpec) -> None:
        if not isinstance(spec, TextSpec):
            raise ConfigError(f"objective next-token takes text, the data are {spec}: take an objective of theirs")

    def draw(self, source: DrawSource) -> dict[str, Tensor]:
        """Draws, with ``dropout``, ``token-draws`` (R, L) in [0, 1)."""
        if not self.dropout:
            return {}
        return {"token-draws": source.uniforms(*source.example_shape)}

    def _loss(self, networks: Networks, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        given, targets = batch.examples[:, :-1], batch.examples[:, 1:]
        if self.dropout:
            hidden = batch.draws["token-draws"][:, :-1] < self.dropout
            given = torch.where(hidden, torch.full_like(given, UNKNOWN_TOKEN), given)
        logits = networks["tokens"](given, batch.labels).float()
        counted = (targets != PAD_TOKEN).float()
        share = counted / counted.sum().clamp_min(1.0)
        losses = F.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), reduction="none", label_smoothing=self.label_smoothing
        )
        right = (logits.detach().argmax(-1) == targets).float()
        return (losses * share.flatten()).sum(), {"training-accuracy": (right * share).sum()}
