"""A normal distribution of what each class looks like, which is known from sums over its images alone."""

import math
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from common.examples import ExampleSpec, ImageSpec
from common.models.base import Fitting, Model, Roles, Sampler, require_images
from common.models.descriptors import Descriptor
from common.models.gaussian_moments import Gaussians, PartMoments, gaussians_of

GAUSSIANS = "gaussians"


class ClassGaussians(Model):
    """Images of a class have normally distributed coefficients of low frequencies and brightness, in one part or more.

    An image is described by the lowest coefficients of its discrete cosine transform, a row of all its pixels in order
    of brightness (cut into ``brightness`` steps), both of each channel, and the part of its class that it is in: by the
    signs of ``splits`` low coefficients. Nothing of that depends on data. A part of a class has one normal
    distribution. To draw an image is to draw such a description, to make a blurred image of the coefficients, and to
    give its pixels in their order the brightness that was drawn, which makes edges of it again.

    It is no network: nothing is trained. Clients send sums of outer products, which the server adds up
    (``dp-moments``). A class of which nothing stands out of the noise is drawn as all classes together.
    """

    source: ClassVar[str] = (
        "sufficient statistics of normal distributions; differentially private: Vu, Slavkovic 2009 (ICDMW); "
        "brightness: exact histogram specification, Coltuc, Bolon, Chassery 2006 (IEEE Trans. Image Process. 15.5)"
    )
    roles: ClassVar[Roles] = Roles((GAUSSIANS,))
    family: ClassVar[str] = "class Gaussians"
    fitting: ClassVar[Fitting] = "moments"

    frequencies: int = Field(
        0, ge=0, le=64, description="coefficients in each direction; 0: half as many as pixels, at most 16"
    )
    brightness: int = Field(48, ge=0, le=256, description="steps of the row of ordered pixels; 0: images stay blurred")
    splits: int = Field(1, ge=0, le=3, description="how many signs split a class, in two parts each")
    rank: int = Field(64, ge=1, le=1024, description="directions, at most, in which a part varies")
    conditional: bool = Field(True, description="false: one distribution of all classes together")

    @model_validator(mode="after")
    def _knows_labels(self) -> Self:
        if not self.conditional:
            raise ValueError("conditional=false: there is a distribution a class, so leave it out")
        return self

    def descriptor(self, spec: ExampleSpec) -> Descriptor:
        """Returns what makes descriptions of images of ``spec``.

        Raises:
            ConfigError: The examples are no images that it takes.
        """
        images = require_images("class-gaussians", spec)
        frequencies = self.frequencies or max(2, min(images.size // 2, 16))
        return Descriptor(images, frequencies, self.brightness, self.splits)

    def networks(self, spec: ExampleSpec) -> dict[str, nn.Module]:
        return {GAUSSIANS: GaussianSampler(require_images("class-gaussians", spec), self.descriptor(spec), self.rank)}

    def described(self, spec: ExampleSpec, examples: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        descriptor = self.descriptor(spec)
        rows, parts = descriptor.describe(examples)
        return rows, labels * descriptor.parts + parts

    def moments_shape(self, spec: ExampleSpec) -> tuple[int, int]:
        descriptor = self.descriptor(spec)
        return spec.num_classes * descriptor.parts, 1 + descriptor.length

    def fitted(self, spec: ExampleSpec, moments: Tensor, noise: float) -> dict[str, Tensor]:
        descriptor = self.descriptor(spec)
        found = gaussians_of(PartMoments(moments, descriptor.weight_of_one, noise), spec.num_classes, self.rank)
        return {f"{GAUSSIANS}.{key}": value for key, value in found._asdict().items()}


class GaussianSampler(Sampler):
    """Noise (B, 1 + R) and labels (B,) to images (B, C, S, S) in [-1, 1]: the first number picks the part.

    Attributes:
        shares: (K, P), which share of a class each of its parts has.
        means: (K P, D), of descriptions.
        factors: (K P, D, R), of their covariances: F F^T; directions that are not used are zero.
    """

    shares: Tensor
    means: Tensor
    factors: Tensor
    cosines: Tensor
    steps: Tensor

    def __init__(self, spec: ImageSpec, descriptor: Descriptor, rank: int) -> None:
        super().__init__()
        self.spec = spec
        classes, parts, length = spec.num_classes, descriptor.parts, descriptor.length
        self.noise_shape = (1 + min(rank, length),)
        self.descriptor = descriptor
        for name, size in zip(
            Gaussians._fields,
            ((classes, parts), (classes * parts, length), (classes * parts, length, min(rank, length))),
            strict=True,
        ):
            self.register_buffer(name, torch.empty(size))
        self.register_buffer("cosines", torch.empty(descriptor.frequencies, spec.size), persistent=False)
        self.register_buffer("steps", torch.empty(descriptor.brightness, spec.size**2), persistent=False)

    def init_weights(self, generator: torch.Generator) -> None:
        """Draws distributions that know nothing yet; see ``common.models.base.initialise``."""
        self.shares.fill_(1 / self.shares.shape[1])
        self.means.normal_(0.0, 0.1, generator=generator)
        self.factors.normal_(0.0, 0.1 / math.sqrt(self.factors.shape[2]), generator=generator)
        self.cosines.copy_(self.descriptor.cosines())
        self.steps.copy_(self.descriptor.steps())

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        uniform = 0.5 * (1 + torch.erf(noise[:, :1] / math.sqrt(2)))
        part = (uniform >= self.shares.cumsum(1)[labels, :-1]).sum(1)
        place = labels * self.shares.shape[1] + part
        apart = self.factors[place].double() @ noise[:, 1:, None].double()
        described = self.means[place] + apart.squeeze(2)  # in float64, as rounding could change the order of pixels
        return self.descriptor.draw(described, self.cosines.double(), self.steps.double()).float()
