"""Variational autoencoder, conditional on the class: convolutional encoder and decoder."""

import itertools
from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from common.examples import ExampleSpec, ImageSpec
from common.models.base import Embedding, Model, Norm, Roles, normalisation, require_images
from common.models.dcgan import DCGANGenerator, ImageToMap, pyramid


class VAE(Model):
    """An encoder to the mean and log-variance of a latent vector, and a decoder, which is what makes samples.

    The decoder has the layers of ``dcgan``'s generator, and the encoder those of its discriminator up to the logit; the
    label enters the encoder as a map of its own, and the decoder beside the latent vector (Sohn et al. 2015).
    """

    source: ClassVar[str] = (
        "Kingma, Welling 2014 (arXiv 1312.6114); conditional: Sohn, Lee, Yan 2015 (NeurIPS 28); layers: Radford, Metz, "
        "Chintala 2016 (arXiv 1511.06434)"
    )

    roles: ClassVar[Roles] = Roles(("decoder",), helpers=("encoder",))
    family: ClassVar[str] = "variational autoencoder"
    class_tables: ClassVar[tuple[str, ...]] = ("decoder.embedding.weight", "encoder.embedding.weight")
    reconstructs_with: ClassVar[tuple[str, ...]] = ("encoder", "decoder")

    width: int = Field(
        16, ge=4, le=512, multiple_of=4, description="channels of the finest hidden layer; doubles at each halving"
    )
    latent_size: int = Field(16, ge=1, le=4096, description="length of the latent vector")
    norm: Norm = Field("group", description="normalisation of hidden layers")

    @property
    def has_batch_statistics(self) -> bool:
        return self.norm == "batch"

    def networks(self, spec: ExampleSpec) -> dict[str, nn.Module]:
        images = require_images("vae", spec, (28, 32, 64))
        classes = images.num_classes if self.conditional else 0
        return {
            "decoder": DCGANGenerator(images, self.width, self.latent_size, self.norm, classes),
            "encoder": VAEEncoder(images, self.width, self.latent_size, self.norm, classes),
        }

    def reconstructor(self, networks: Mapping[str, nn.Module] | nn.ModuleDict) -> nn.Module:
        return MeanReconstruction(networks["encoder"], networks["decoder"])


class MeanReconstruction(nn.Module):
    """Images (B, C, S, S) and labels (B,) to the decoder's at the mean of what the encoder says of each."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        means, _ = self.encoder(images, labels).chunk(2, dim=1)
        made: Tensor = self.decoder(means, labels)
        return made


class VAEEncoder(nn.Module):
    """Images (B, C, S, S) and labels (B,) to means and log-variances (B, 2 Z). ``num_classes=0``: without labels."""

    def __init__(self, spec: ImageSpec, width: int, latent_size: int, norm: Norm, num_classes: int) -> None:
        super().__init__()
        widths, start = pyramid(spec.size, width)
        self.embedding = Embedding(num_classes, spec.size**2) if num_classes else None
        layers: list[nn.Module] = [ImageToMap(spec.channels + bool(num_classes), widths[0]), nn.SiLU()]
        for inner, outer in itertools.pairwise(widths):
            layers += [nn.Conv2d(inner, outer, 4, stride=2, padding=1), normalisation(norm, outer), nn.SiLU()]
        features = 8 * width
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * start**2, features))
        self.moments = nn.Linear(features, 2 * latent_size)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        if self.embedding is not None:
            side = images.shape[-1]
            images = torch.cat([images, self.embedding(labels).unflatten(1, (1, side, side))], dim=1)
        moments: Tensor = self.moments(F.silu(self.features(images)))
        return moments
