"""The end of a discriminator that knows classes: a logit of an image's features, and their projection on its class."""

from torch import Tensor, nn

from common.models.base import ZeroEmbedding
from common.models.spectral import SpectralLinear, SpectralZeroEmbedding


class ProjectionDiscriminator(nn.Module):
    """Images (B, C, S, S) and labels (B,) to logits (B,): psi(f(x)) + <e(y), f(x)> with features f of the image.

    Miyato, Koyama 2018 (arXiv 1802.05637). What makes the features is a discriminator's own.
    """

    def add_head(self, width: int, num_classes: int, spectral_norm: bool = False) -> None:
        """Adds psi and e, of features of this width; without classes psi alone.

        The layers that make the features come before it, as weights are drawn in the order of the modules.
        """
        self.logit = (SpectralLinear if spectral_norm else nn.Linear)(width, 1)
        self.projection: ZeroEmbedding | None = None
        if num_classes:
            self.projection = (SpectralZeroEmbedding if spectral_norm else ZeroEmbedding)(num_classes, width)

    def logits(self, features: Tensor, labels: Tensor) -> Tensor:
        """Returns logits (B,) of features (B, width) and labels (B,)."""
        logits: Tensor = self.logit(features).squeeze(1)
        if self.projection is not None:
            logits = logits + (self.projection(labels) * features).sum(1)
        return logits
