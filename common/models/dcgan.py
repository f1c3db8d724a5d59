"""Deep convolutional GAN, conditional on the class, without batch statistics by default."""

import itertools
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from common.examples import ExampleSpec, ImageSpec
from common.models.base import AdversarialModel, Embedding, Norm, Sampler, normalisation, require_images
from common.models.projection import ProjectionDiscriminator
from common.models.spectral import SpectralConv2d, SpectralLinear


class DCGAN(AdversarialModel):
    """Strided-convolution generator and discriminator; class embedding in G, class projection in D.

    Weights start at N(0, 0.02) as in the paper. Deviations from it: GroupNorm instead of BatchNorm by default (batch
    statistics break under label skew) and a width that suits small images.
    """

    source: ClassVar[str] = (
        "Radford, Metz, Chintala 2016 (arXiv 1511.06434); projection: Miyato, Koyama 2018 (arXiv 1802.05637)"
    )

    weight_std: ClassVar[float | None] = 0.02

    width: int = Field(
        16, ge=4, le=512, multiple_of=4, description="channels of the finest hidden layer; doubles at each halving"
    )
    norm: Norm = Field("group", description="normalisation of hidden layers")
    spectral_norm: bool = Field(
        False, description="spectral normalisation of the discriminator (Miyato et al. 2018), instead of norm there"
    )
    resize_convolution: bool = Field(
        False, description="the generator repeats pixels before a 3x3 convolution: no fine grid (Odena et al. 2016)"
    )
    minibatch_std: bool = Field(
        False, description="the discriminator also sees how much the images of a batch differ (Karras et al. 2018)"
    )

    @property
    def has_batch_statistics(self) -> bool:
        return self.norm == "batch"

    @property
    def judges_batches(self) -> bool:
        return self.minibatch_std

    def networks(self, spec: ExampleSpec) -> dict[str, nn.Module]:
        images = require_images("dcgan", spec, (28, 32, 64))
        classes = images.num_classes if self.conditional else 0
        return {
            "generator": DCGANGenerator(
                images, self.width, self.latent_size, self.norm, classes, self.resize_convolution
            ),
            "discriminator": DCGANDiscriminator(
                images, self.width, self.norm, classes, self.spectral_norm, self.minibatch_std
            ),
        }


class DCGANGenerator(Sampler):
    """Latents (B, Z) and labels (B,) to images (B, C, S, S) in [-1, 1]. ``num_classes=0``: labels are not looked at.

    Maps double by transposed convolutions, with ``resize_convolution`` as ``ResizeConv2d`` says.
    """

    def __init__(
        self,
        spec: ImageSpec,
        width: int,
        latent_size: int,
        norm: Norm,
        num_classes: int,
        resize_convolution: bool = False,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.noise_shape = (latent_size,)
        widths, self.start = pyramid(spec.size, width)
        self.embedding = Embedding(num_classes, latent_size) if num_classes else None
        inputs = latent_size * 2 if num_classes else latent_size
        self.project = nn.Linear(inputs, widths[-1] * self.start**2)
        layers: list[nn.Module] = [normalisation(norm, widths[-1]), nn.ReLU(inplace=True)]
        for inner, outer in zip(widths[:0:-1], widths[-2::-1], strict=True):
            bias = norm == "none"
            layers.append(
                ResizeConv2d(inner, outer, bias=bias)
                if resize_convolution
                else nn.ConvTranspose2d(inner, outer, 4, stride=2, padding=1, bias=bias)
            )
            layers += [normalisation(norm, outer), nn.ReLU(inplace=True)]
        last = ResizeConv2d if resize_convolution else MapToImage
        self.layers = nn.Sequential(*layers, last(widths[0], spec.channels))

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        if self.embedding is not None:
            latents = torch.cat([latents, self.embedding(labels)], dim=1)
        coarse = self.project(latents).unflatten(1, (-1, self.start, self.start))
        return torch.tanh(self.layers(coarse))


class DCGANDiscriminator(ProjectionDiscriminator):
    """A pyramid of strided convolutions; with ``spectral_norm`` all layers have it, and ``norm`` normalises none.

    With ``minibatch_std`` the coarsest maps get one more, see ``MinibatchStd``.
    """

    def __init__(
        self,
        spec: ImageSpec,
        width: int,
        norm: Norm,
        num_classes: int,
        spectral_norm: bool = False,
        minibatch_std: bool = False,
    ) -> None:
        super().__init__()
        norm = "none" if spectral_norm else norm
        conv, linear = (SpectralConv2d, SpectralLinear) if spectral_norm else (nn.Conv2d, nn.Linear)
        widths, start = pyramid(spec.size, width)
        layers: list[nn.Module] = [ImageToMap(spec.channels, widths[0], conv), nn.LeakyReLU(0.2, inplace=True)]
        for inner, outer in itertools.pairwise(widths):
            layers.append(conv(inner, outer, 4, stride=2, padding=1, bias=norm == "none"))
            layers += [normalisation(norm, outer), nn.LeakyReLU(0.2, inplace=True)]
        coarsest = widths[-1]
        if minibatch_std:
            layers.append(MinibatchStd())
            coarsest += 1
        features = 4 * width
        self.features = nn.Sequential(*layers, nn.Flatten(), linear(coarsest * start**2, features))
        self.add_head(features, num_classes, spectral_norm)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.logits(F.leaky_relu(self.features(images), 0.2), labels)


class MinibatchStd(nn.Module):
    """Maps (B, C, H, W) to maps (B, C + 1, H, W): beside them one that says how much they differ from one another.

    It holds one number, the mean over all C, H and W of the standard deviation over the batch.
    Karras et al. 2018 (arXiv 1710.10196), section 3. A generator whose images are alike is told from the data by it.
    Computed in float32; that of a batch of one is 1e-4. Gradient penalties and R1 are, as there, of the sum of a
    batch's logits by each image, so that they hold what an image does to the others' logits too.
    """

    def forward(self, maps: Tensor) -> Tensor:
        spread = (maps.float().var(0, correction=0) + 1e-8).sqrt().mean().to(maps.dtype)
        return torch.cat([maps, spread.expand(maps.shape[0], 1, *maps.shape[2:])], dim=1)


class ImageToMap(nn.Module):
    """A 4x4 convolution of stride 2 and padding 1: images (B, I, 2H, 2W) to maps (B, O, H, W).

    Computed as a 2x2 convolution on blocks of 2x2 pixels: the same function, and twice as fast on a CPU where an image
    has few channels.
    """

    def __init__(self, channels: int, width: int, conv: type[nn.Conv2d] = nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv(4 * channels, width, 2)

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.conv(F.pixel_unshuffle(F.pad(images, (1, 1, 1, 1)), 2))
        return result


class MapToImage(nn.Module):
    """A transposed 4x4 convolution of stride 2 and padding 1: maps (B, I, H, W) to images (B, O, 2H, 2W).

    Computed as a 2x2 convolution to blocks of 2x2 pixels: the same function (but that each pixel of a block has its own
    bias), and faster as in ``ImageToMap``.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, 4 * channels, 2, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        return F.pixel_shuffle(self.conv(maps), 2)[:, :, 1:-1, 1:-1]


class ResizeConv2d(nn.Module):
    """Maps (B, I, H, W) to maps (B, O, 2H, 2W): repeats each pixel 2x2 times, then a 3x3 convolution of padding 1.

    Odena et al. 2016 (Distill, 10.23915/distill.00003): a transposed convolution has weights of its own for each pixel
    of a 2x2 block, so that areas of one colour show a grid. Computed as one, whose 4x4 kernel is the 3x3 kernel summed
    over 2x2: the same function for less than half of the work.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, bias=bias)

    def forward(self, maps: Tensor) -> Tensor:
        kernel = 4.0 * F.avg_pool2d(F.pad(self.conv.weight, (1, 1, 1, 1)), 2, stride=1)
        return F.conv_transpose2d(maps, kernel.transpose(0, 1).flip(2, 3), self.conv.bias, stride=2, padding=1)


def pyramid(size: int, width: int) -> tuple[list[int], int]:
    """Returns the channels of the hidden maps from fine (half of ``size``) to coarse, and the side of the coarsest."""
    start = 7 if size == 28 else 4
    halvings = (size // start).bit_length() - 1
    return [width * 2**depth for depth in range(halvings)], start
