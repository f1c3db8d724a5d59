"""Flow matching along straight paths: a regression on the velocity from noise to an example."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from common.models.base import NO_LABEL
from common.objectives.base import Batch, DrawSource, Loss, Networks, Objective, Phase


class FlowMatching(Objective):
    """Minimises E |v(x_t, t, y) - (x - e)|^2, a mean over pixels, with x_t = (1 - t) e + t x and standard normal e.

    With ``times=logistic-normal`` the middle of the path is seen more often than its ends.
    """

    source: ClassVar[str] = (
        "Lipman et al. 2023 (arXiv 2210.02747), eq. 23 with sigma 0; Liu et al. 2023 (arXiv 2209.03003), eq. 1; times: "
        "Esser et al. 2024 (arXiv 2403.03206), 3.1; labels left out: Ho, Salimans 2022 (arXiv 2207.12598)"
    )

    times: Literal["logistic-normal", "uniform"] = Field("logistic-normal", description="distribution of t")
    label_dropout: float = Field(
        0.1, ge=0, lt=1, description="share of examples whose label is left out, for the model's guidance; 0: none"
    )

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("flow", ("velocity",), self._loss, period=1),)

    def losses(self) -> tuple[Loss, ...]:
        return (Loss("flow-loss", "velocity error"),)

    def draw(self, source: DrawSource) -> dict[str, Tensor]:
        """Draws ``noise`` (R, *shape), ``times`` (R,) in [0, 1] and ``label-draws`` (R,) in [0, 1)."""
        noise = source.noise()
        times = source.uniforms() if self.times == "uniform" else source.normals().sigmoid()
        return {"noise": noise, "times": times, "label-draws": source.uniforms()}

    def _loss(self, networks: Networks, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        noise, times = batch.draws["noise"], batch.draws["times"]
        share = times.view(-1, *[1] * (noise.ndim - 1))
        place = (1 - share) * noise + share * batch.examples
        without = batch.draws["label-draws"] < self.label_dropout
        labels = torch.where(without, torch.full_like(batch.labels, NO_LABEL), batch.labels)
        velocity = networks["velocity"](place, times, labels)
        return (velocity.float() - (batch.examples - noise)).square().mean(), {}
