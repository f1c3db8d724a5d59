"""Fully connected GAN: the networks of the first paper, for tests, ablations and very small machines."""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from common.examples import ExampleSpec, ImageSpec
from common.models.base import AdversarialModel, Embedding, Sampler, require_images
from common.models.projection import ProjectionDiscriminator


class MLP(AdversarialModel):
    """Two hidden layers on each side, for images of any size; class embedding in G, class projection in D."""

    source: ClassVar[str] = "Goodfellow et al. 2014 (arXiv 1406.2661), with leaky ReLU for maxout"

    width: int = Field(128, ge=1, le=8192, description="units of a hidden layer")

    def networks(self, spec: ExampleSpec) -> dict[str, nn.Module]:
        images = require_images("mlp", spec)
        classes = images.num_classes if self.conditional else 0
        return {
            "generator": MLPGenerator(images, self.width, self.latent_size, classes),
            "discriminator": MLPDiscriminator(images, self.width, classes),
        }


class MLPGenerator(Sampler):
    """Latents (B, Z) and labels (B,) to images (B, C, S, S) in [-1, 1]."""

    def __init__(self, spec: ImageSpec, width: int, latent_size: int, num_classes: int) -> None:
        super().__init__()
        self.spec = spec
        self.noise_shape = (latent_size,)
        self.image_shape = (spec.channels, spec.size, spec.size)
        self.embedding = Embedding(num_classes, latent_size) if num_classes else None
        inputs = latent_size * 2 if num_classes else latent_size
        self.layers = nn.Sequential(
            nn.Linear(inputs, width),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(width, width),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(width, math.prod(self.image_shape)),
        )

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        if self.embedding is not None:
            latents = torch.cat([latents, self.embedding(labels)], dim=1)
        return torch.tanh(self.layers(latents)).view(-1, *self.image_shape)


class MLPDiscriminator(ProjectionDiscriminator):
    """Two layers on the pixels of an image."""

    def __init__(self, spec: ImageSpec, width: int, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Flatten(),
            nn.Linear(spec.channels * spec.size**2, width),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(width, width),
        )
        self.add_head(width, num_classes)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.logits(F.leaky_relu(self.features(images), 0.2), labels)
