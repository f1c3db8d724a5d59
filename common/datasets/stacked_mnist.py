"""Stacked MNIST: three digits in the three channels of a picture, so that there are 1,000 combinations to make."""

from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field

from common.datasets.base import Dataset, DataSource
from common.datasets.mnist import Mnist
from common.datasets.mnist_10k import Mnist10k
from common.examples import ExampleSet, ImageSet
from common.seeding import numpy_generator

_SOURCES: dict[str, type[DataSource]] = {"mnist-10k": Mnist10k, "mnist": Mnist}
_CHANNELS = 3


class StackedMnist(DataSource):
    """Pictures of 28 x 28 with an MNIST digit in red, one in green and one in blue; the label is the red one's.

    As many pictures as there are digits, times ``copies``: each digit stands ``copies`` times in each channel. Those of
    the first channel are in their own order, so that labels are distributed as MNIST's; those of the second and of the
    third are shuffled, by numbers that are the same for every run. Training pictures are made of training digits,
    held-out ones of held-out digits.

    A picture is 2,352 bytes: 19 MB of ``mnist-10k``'s 8,000 training digits, 141 MB of ``mnist``'s 60,000.
    """

    source: ClassVar[str] = "Metz, Poole, Pfau and Sohl-Dickstein 2017, Unrolled GAN, arXiv:1611.02163, section 3.3.1"
    stacks_digits: ClassVar[bool] = True

    of: Literal["mnist-10k", "mnist"] = Field(
        "mnist-10k", description="where the digits come from: the embedded ones, or those of data.root"
    )
    copies: int = Field(1, ge=1, le=20, description="how often each digit stands in each channel")

    def load(self, root: Path | None, *, image_size: int = 0, download: bool = True) -> Dataset:
        """Returns the pictures, made of the digits that ``of`` names; see ``DataSource.load``."""
        digits = _SOURCES[self.of]().load(root, image_size=image_size, download=download)
        train, test = (
            _stacked(part, name, self.copies) for name, part in (("train", digits.train), ("test", digits.test))
        )
        return Dataset(f"{self.component_name()} of {digits.name}", train, test, digits.class_names)

    def status(self, root: Path | None) -> str:
        """Returns where the digits are; see ``DataSource.status``."""
        return f"of {self.of}, {_SOURCES[self.of]().status(root)}"


def _stacked(digits: ExampleSet, part: str, copies: int) -> ImageSet:
    """Returns pictures (N * copies, 3, S, S) of digits (N, 1, S, S)."""
    num, size = len(digits), digits.stored.shape[-1]
    images = torch.empty(copies, num, _CHANNELS, size, size, dtype=torch.uint8)
    for copy in range(copies):
        images[copy, :, 0] = digits.stored[:, 0]
        for channel in range(1, _CHANNELS):
            order = numpy_generator(0, "stacked-mnist", part, copy, channel).permutation(num)
            images[copy, :, channel] = digits.stored[torch.from_numpy(order), 0]
    return ImageSet(images.flatten(0, 1), digits.labels.repeat(copies))
