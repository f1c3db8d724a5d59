"""What an image is described by for sums over images: low frequencies, and its pixels in order of brightness."""

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from common.errors import ConfigError
from common.examples import ImageSpec

_SPLITS = ((1, 1), (0, 1), (1, 0))
"""Coefficients by whose signs images are told apart, by row and column: slant, left and right, top and bottom."""

_ONE, _COEFFICIENTS, _BRIGHTNESS = 0.1, 0.8, 0.1
"""Shares of the squared length of a vector of length 1: of the constant, the coefficients and the brightness.

Noise is the same in every number, and there are many more of coefficients, and more products of them, than of the rest:
the constant, whose square is an image's count, needs no more than to stand out of one number's noise.
"""

_RMS = 1 / 3
"""The root mean square of pixels in [0, 1] of an image with a vector of length 1; brighter ones are scaled down to it.

It is just below that of the darkest of a public set, .37 of scikit-learn's 1,797 digits of 8x8 (their median is .49),
so that their vectors all are as long as the noise is made for:

    x = sklearn.datasets.load_digits().data / 16; print((x**2).mean(1).min() ** 0.5)

A vector that is scaled down as a whole, its constant too, counts less and says nothing else: so this is a weight of
images, and no limit to what they look like.
"""


@dataclass(frozen=True)
class Descriptor:
    """Describes images, and draws what a description says.

    Attributes:
        spec: Of the images.
        frequencies: Coefficients in each direction (F).
        brightness: Steps of the row of ordered pixels of a channel (Q); 0: there is none.
        splits: How many signs tell parts apart.

    Raises:
        ConfigError: More frequencies or steps than the images have.
    """

    spec: ImageSpec
    frequencies: int
    brightness: int
    splits: int

    def __post_init__(self) -> None:
        size = self.spec.size
        if self.frequencies > size or self.brightness > size**2:
            raise ConfigError(
                f"model class-gaussians: images of {size}x{size} pixels have no more than {size} frequencies and "
                f"{size**2} steps of brightness, of {self.frequencies} and {self.brightness}"
            )
        if self.splits and self.frequencies < 2:
            raise ConfigError("model class-gaussians: splits needs two frequencies or more: set splits=0")

    @property
    def parts(self) -> int:
        """Into how many parts classes are split."""
        return 1 << self.splits

    @property
    def length(self) -> int:
        """Numbers of a description (D): all coefficients, then all steps of brightness, a channel after another."""
        return self.spec.channels * (self.frequencies * self.frequencies + self.brightness)

    @property
    def weight_of_one(self) -> float:
        """The constant before a description."""
        return math.sqrt(_ONE)

    def describe(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns vectors (B, 1 + D) of images (B, C, S, S) in [-1, 1], and their parts (B,), int64.

        A vector is the constant ``weight_of_one`` and the description. Its length does not matter to what it says.
        """
        pixels = (images + 1) / 2
        cosines = self.cosines().to(images)
        coefficients = cosines @ pixels @ cosines.T
        brightest = coefficients.mean(1)
        parts = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        for place, (row, column) in enumerate(_SPLITS[: self.splits]):
            parts += (brightest[:, row, column] > 0).long() << place
        ordered = pixels.flatten(2).sort(dim=2, descending=True).values @ self._sums().to(images)
        described = [coefficients * self._scale(_COEFFICIENTS), ordered * self._scale(_BRIGHTNESS)]
        one = images.new_full((len(images), 1), self.weight_of_one)
        return torch.cat([one, *(each.flatten(1) for each in described)], dim=1), parts

    def draw(self, described: Tensor, cosines: Tensor, steps: Tensor) -> Tensor:
        """Returns images (B, C, S, S) in [-1, 1] of descriptions (B, D), with ``cosines()`` and ``steps()``."""
        channels, size = self.spec.channels, self.spec.size
        count = channels * self.frequencies**2
        coefficients = described[:, :count].view(-1, channels, self.frequencies, self.frequencies)
        pixels = cosines.T @ (coefficients / self._scale(_COEFFICIENTS)) @ cosines
        if self.brightness:
            ordered = described[:, count:].view(-1, channels, self.brightness) / self._scale(_BRIGHTNESS)
            ordered = (ordered / self._roots().to(ordered)).sort(dim=2, descending=True).values @ steps
            order = pixels.flatten(2).argsort(dim=2, descending=True)
            pixels = torch.zeros_like(ordered).scatter(2, order, ordered)
        return (2 * pixels.view(-1, channels, size, size) - 1).clamp(-1, 1)

    def cosines(self) -> Tensor:
        """Returns the lowest rows (F, S) of the orthonormal discrete cosine transform (DCT-II)."""
        pixels = torch.arange(self.spec.size, dtype=torch.float64) + 0.5
        rows = torch.arange(self.frequencies, dtype=torch.float64)
        found = torch.cos(math.pi / self.spec.size * rows[:, None] * pixels) * math.sqrt(2 / self.spec.size)
        found[0] /= math.sqrt(2)
        return found.float()

    def steps(self) -> Tensor:
        """Returns what makes of means (Q,) the brightness of each of the S^2 pixels in order: (Q, S^2).

        On a straight line between the middles of two steps.
        """
        if not self.brightness:
            return torch.empty(0, self.spec.size**2)
        edges = self._edges().double()
        middles = (edges[1:] + edges[:-1] - 1) / 2
        pixels = torch.arange(self.spec.size**2, dtype=torch.float64)
        if self.brightness == 1:
            return torch.ones(1, len(pixels))
        after = torch.searchsorted(middles, pixels).clamp(1, self.brightness - 1)
        share = ((pixels - middles[after - 1]) / (middles[after] - middles[after - 1])).clamp(0, 1)
        found = torch.zeros(len(pixels), self.brightness, dtype=torch.float64)
        found.scatter_(1, after[:, None], share[:, None])
        found.scatter_(1, after[:, None] - 1, 1 - share[:, None])
        return found.T.float().contiguous()

    def _sums(self) -> Tensor:
        """Returns what makes of the pixels in order the sums of steps, over the roots of their widths: (S^2, Q)."""
        edges = self._edges().tolist()
        found = torch.zeros(self.spec.size**2, self.brightness)
        for step, (first, end) in enumerate(itertools.pairwise(edges)):
            found[first:end, step] = (end - first) ** -0.5
        return found

    def _roots(self) -> Tensor:
        """Returns the roots of the widths of steps (Q,): so many times a step's mean is what ``_sums`` gives."""
        return self._edges().diff().float().sqrt()

    def _edges(self) -> Tensor:
        """Returns the pixels with which steps begin, and their number, int64 (Q + 1,)."""
        return (torch.arange(self.brightness + 1) * self.spec.size**2) // max(1, self.brightness)

    def _scale(self, share: float) -> float:
        """Returns what numbers of a kind are multiplied by."""
        return math.sqrt(share / self.spec.channels) / (_RMS * self.spec.size)
