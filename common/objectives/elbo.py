"""The evidence lower bound of a variational autoencoder, with a weight on its divergence."""

import math
from typing import ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from common.charts import Chart
from common.objectives.base import Batch, Diagnostic, DrawSource, Loss, Networks, Objective, Phase

_TERMS = Chart(
    "elbo",
    "Terms of the bound",
    "In nats an example. A divergence near 0 says that the latent vector tells nothing of the example.",
)


class ELBO(Objective):
    """Minimises -E log p(x | z, y) + beta KL(q(z | x, y) | N(0, 1)), with z drawn once by reparametrisation, in nats.

    ``bernoulli`` takes a pixel's brightness in [0, 1] as a probability (which makes it a cross-entropy for grey values,
    as is usual for digits); ``gaussian`` has a standard deviation of ``scale`` on pixels in [-1, 1].
    """

    source: ClassVar[str] = (
        "Kingma, Welling 2014 (arXiv 1312.6114), eq. 7 and appendix B; beta: Higgins et al. 2017 (ICLR)"
    )

    beta: float = Field(1.0, ge=0, description="weight of the divergence to the prior (beta-VAE)")
    likelihood: Literal["bernoulli", "gaussian"] = Field("bernoulli", description="of a pixel given the decoder's")
    scale: float = Field(0.3, gt=0, description="standard deviation of the gaussian likelihood; pixels are in [-1, 1]")

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("elbo", ("encoder", "decoder"), self._loss, period=1),)

    def losses(self) -> tuple[Loss, ...]:
        return (Loss("elbo-loss", "negative ELBO"),)

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        return Diagnostic("reconstruction", "reconstruction", _TERMS), Diagnostic("kl", "KL to prior", _TERMS)

    def draw(self, source: DrawSource) -> dict[str, Tensor]:
        """Draws ``noise`` (R, Z), which latent vectors are made of."""
        return {"noise": source.noise()}

    def _loss(self, networks: Networks, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        means, log_variances = networks["encoder"](batch.examples, batch.labels).chunk(2, dim=1)
        latents = means + (0.5 * log_variances).exp() * batch.draws["noise"]
        found = networks["decoder"](latents, batch.labels)
        reconstruction = self.reconstruction(batch.examples, found).mean()
        divergence = kl_to_standard_normal(means, log_variances).mean()
        watched = {"reconstruction": reconstruction.detach(), "kl": divergence.detach()}
        return reconstruction + self.beta * divergence, watched

    def reconstruction(self, images: Tensor, found: Tensor) -> Tensor:
        """Returns -log p(x | z) of every image (B,), in nats, of images and the decoder's, both (B, ...) in [-1, 1]."""
        if self.likelihood == "bernoulli":
            brightness, chance = (images + 1) / 2, ((found.float() + 1) / 2).clamp(1e-6, 1 - 1e-6)
            return F.binary_cross_entropy(chance, brightness, reduction="none").flatten(1).sum(1)
        constant = math.log(self.scale * math.sqrt(2 * math.pi))
        return (0.5 * ((images - found.float()) / self.scale).square() + constant).flatten(1).sum(1)


def kl_to_standard_normal(means: Tensor, log_variances: Tensor) -> Tensor:
    """Returns KL(N(mean, variance) | N(0, 1)), summed over the last dimension: (B, Z) each to (B,), in nats.

    1/2 (variance + mean^2 - 1 - log variance) a dimension (Kingma, Welling 2014, appendix B).
    """
    return 0.5 * (log_variances.exp() + means.square() - 1 - log_variances).sum(-1)
