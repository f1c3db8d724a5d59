"""Residual GAN for small colour images, conditional on the class, without batch statistics by default."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from common.examples import ExampleSpec, ImageSpec
from common.models.base import AdversarialModel, Embedding, Norm, Sampler, normalisation, require_images
from common.models.projection import ProjectionDiscriminator
from common.models.spectral import SpectralConv2d


class ResNet(AdversarialModel):
    """Residual generator and discriminator of one width throughout; class embedding in G, class projection in D.

    Layers as for CIFAR-10 in the papers: the generator doubles the side in every block; the discriminator halves it
    down to 8 or 7 pixels, then come two more blocks, and a mean over pixels (Gulrajani et al.; a sum in Miyato et al.).
    Deviations: GroupNorm instead of BatchNorm in G by default (batch statistics break under label skew), the label
    enters G beside the latents instead of through conditional BatchNorm, all weights start normal with variance
    2 / fan_in, and a default width for a CPU, where a step of 64 images still takes half a second; the papers have 128
    and 256.
    """

    source: ClassVar[str] = (
        "Miyato et al. 2018 (arXiv 1802.05957), appendix B.4, after Gulrajani et al. 2017 (arXiv 1704.00028), "
        "appendix F; projection: Miyato, Koyama 2018 (arXiv 1802.05637)"
    )

    width: int = Field(32, ge=4, le=1024, multiple_of=4, description="channels of every hidden layer")
    latent_size: int = Field(128, ge=1, le=4096, description="length of the latent vector")
    norm: Norm = Field(
        "group", description="normalisation of the generator's hidden layers; the discriminator has none"
    )
    spectral_norm: bool = Field(False, description="spectral normalisation of the discriminator (Miyato et al. 2018)")

    @property
    def has_batch_statistics(self) -> bool:
        return self.norm == "batch"

    def networks(self, spec: ExampleSpec) -> dict[str, nn.Module]:
        images = require_images("resnet", spec, (28, 32, 64))
        classes = images.num_classes if self.conditional else 0
        return {
            "generator": ResNetGenerator(images, self.width, self.latent_size, self.norm, classes),
            "discriminator": ResNetDiscriminator(images, self.width, classes, self.spectral_norm),
        }


class ResNetGenerator(Sampler):
    """Latents (B, Z) and labels (B,) to images (B, C, S, S) in [-1, 1]. ``num_classes=0``: labels are not looked at."""

    def __init__(self, spec: ImageSpec, width: int, latent_size: int, norm: Norm, num_classes: int) -> None:
        super().__init__()
        self.spec = spec
        self.noise_shape = (latent_size,)
        self.start, doublings = (7, 2) if spec.size == 28 else (4, spec.size.bit_length() - 3)
        self.embedding = Embedding(num_classes, latent_size) if num_classes else None
        inputs = latent_size * 2 if num_classes else latent_size
        self.project = nn.Linear(inputs, width * self.start**2)
        self.blocks = nn.Sequential(*(UpBlock(width, norm) for _ in range(doublings)))
        self.image = nn.Sequential(
            normalisation(norm, width), nn.ReLU(inplace=True), nn.Conv2d(width, spec.channels, 3, padding=1)
        )

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        if self.embedding is not None:
            latents = torch.cat([latents, self.embedding(labels)], dim=1)
        coarse = self.project(latents).unflatten(1, (-1, self.start, self.start))
        return torch.tanh(self.image(self.blocks(coarse)))


class UpBlock(nn.Module):
    """Maps (B, W, H, H) to maps (B, W, 2H, 2H): two 3x3 convolutions beside a 1x1 convolution."""

    def __init__(self, width: int, norm: Norm) -> None:
        super().__init__()
        self.before = normalisation(norm, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.between = normalisation(norm, width)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.shortcut = nn.Conv2d(width, width, 1)

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.first(F.interpolate(F.relu(self.before(maps)), scale_factor=2))
        inner = self.second(F.relu(self.between(inner)))
        # The 1x1 convolution comes before the doubling: the same result for a quarter of the work.
        result: Tensor = inner + F.interpolate(self.shortcut(maps), scale_factor=2)
        return result


class ResNetDiscriminator(ProjectionDiscriminator):
    """Residual blocks, the first of which halve the image; features are their maps' means."""

    def __init__(self, spec: ImageSpec, width: int, num_classes: int, spectral_norm: bool) -> None:
        super().__init__()
        conv = SpectralConv2d if spectral_norm else nn.Conv2d
        halvings = 3 if spec.size == 64 else 2
        self.blocks = nn.Sequential(
            DownBlock(spec.channels, width, conv, halve=True, first=True),
            *(DownBlock(width, width, conv, halve=True) for _ in range(halvings - 1)),
            *(DownBlock(width, width, conv, halve=False) for _ in range(2)),
        )
        self.add_head(width, num_classes, spectral_norm)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.logits(F.relu(self.blocks(images)).mean((2, 3)), labels)


class DownBlock(nn.Module):
    """Maps (B, I, H, H) to maps (B, O, H, H), or half the side with ``halve``: two 3x3 convolutions beside a shortcut.

    The shortcut is a 1x1 convolution, or nothing where the shape stays. The ``first`` block takes images, which no ReLU
    may touch.
    """

    def __init__(self, inputs: int, outputs: int, conv: type[nn.Conv2d], *, halve: bool, first: bool = False) -> None:
        super().__init__()
        self.takes_images = first
        self.first = conv(inputs, outputs, 3, padding=1)
        self.second = conv(outputs, outputs, 3, padding=1)
        self.shortcut = conv(inputs, outputs, 1) if halve else None

    def forward(self, maps: Tensor) -> Tensor:
        inner: Tensor = self.second(F.relu(self.first(maps if self.takes_images else F.relu(maps))))
        if self.shortcut is None:
            return maps + inner
        # Pooling and a 1x1 convolution commute: the mean first is a quarter of the work.
        beside: Tensor = self.shortcut(F.avg_pool2d(maps, 2))
        result: Tensor = beside + F.avg_pool2d(inner, 2)
        return result
