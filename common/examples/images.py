"""Square images of one size.

They stay ``uint8`` until a batch is made (a quarter of the memory, and exact); ``normalise`` takes them to [-1, 1].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch

from common.errors import DataError
from common.examples.base import ExampleSet, ExampleSpec


@dataclass(frozen=True)
class ImageSpec(ExampleSpec):
    """What a network must know of images.

    Attributes:
        channels: 1 (grey) or 3 (red, green, blue).
        size: Height and width in pixels.
        num_classes: Labels are in [0, num_classes).
    """

    kind: ClassVar[str] = "images"
    nouns: ClassVar[tuple[str, str]] = ("image", "images")

    channels: int
    size: int
    num_classes: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.channels, self.size, self.size

    def to_input(self, stored: torch.Tensor) -> torch.Tensor:
        return normalise(stored)

    def to_stored(self, output: torch.Tensor) -> torch.Tensor:
        return denormalise(output)

    def preview(self, examples: torch.Tensor, columns: int, headings: Sequence[str] = ()) -> npt.NDArray[np.uint8]:
        return tile(examples, columns)

    def record(self) -> dict[str, str | int]:
        return {"channels": self.channels, "size": self.size, "num-classes": self.num_classes}

    @classmethod
    def from_record(cls, record: Mapping[str, str | int]) -> Self:
        return cls(*(int(record[key]) for key in ("channels", "size", "num-classes")))

    @property
    def form(self) -> str:
        return f"{self.size}x{self.size}, {self.channels} channel(s)"

    def __str__(self) -> str:
        return f"{self.size}x{self.size} images with {self.channels} channel(s) of {self.num_classes} class(es)"


@dataclass(frozen=True, eq=False)
class ImageSet(ExampleSet):
    """Square images of one size, with their labels: ``stored`` is (N, C, S, S) uint8 in [0, 255], C = 1 or 3."""

    kind: ClassVar[str] = "images"

    @property
    def images(self) -> torch.Tensor:
        """The examples."""
        return self.stored

    @property
    def image_shape(self) -> tuple[int, int]:
        """Channels, and height and width in pixels."""
        _, channels, size, _ = self.stored.shape
        return channels, size

    def check_examples(self) -> None:
        shape = tuple(self.stored.shape)
        if self.stored.dtype != torch.uint8 or len(shape) != 4 or shape[1] not in (1, 3):
            raise DataError(f"images are {shape} {self.stored.dtype}, not (N, C, S, S) torch.uint8 with C = 1 or 3")
        if shape[2] != shape[3]:
            raise DataError(not_square(shape[2], shape[3]))

    def spec(self, num_classes: int) -> ImageSpec:
        return ImageSpec(*self.image_shape, num_classes)


def normalise(images: torch.Tensor) -> torch.Tensor:
    """Returns images of bytes in [0, 255], of any shape, as float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def denormalise(images: torch.Tensor) -> torch.Tensor:
    """Returns floating images, of any shape, as uint8: [-1, 1] to [0, 255], rounded; what is outside is clamped."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def not_square(height: int, width: int) -> str:
    """Returns what is said of images that are not square."""
    return f"images are {height} x {width} pixels, not square; set data.image-size to crop and resize them"


def tile(images: torch.Tensor, columns: int, padding: int = 2) -> npt.NDArray[np.uint8]:
    """Returns one picture of all images, row by row: uint8 (height, width) if grey, else (height, width, 3).

    Args:
        images: uint8 (N, C, S, S), N >= 1.
        columns: Images in a row.
        padding: White pixels between images and around.
    """
    num, channels, size, _ = images.shape
    rows, cell = -(-num // columns), size + padding
    picture = np.full((channels, rows * cell + padding, columns * cell + padding), 255, dtype=np.uint8)
    for index, image in enumerate(images.numpy()):
        top, left = (index // columns) * cell + padding, (index % columns) * cell + padding
        picture[:, top : top + size, left : left + size] = image
    return picture[0] if channels == 1 else picture.transpose(1, 2, 0)
