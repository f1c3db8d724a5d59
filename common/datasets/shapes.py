"""Drawn shapes in colour, of any size: pictures to try larger, coloured generators on, without a download."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from pydantic import Field

from common.datasets.base import Dataset, DataSource, stratified_split
from common.errors import ConfigError
from common.examples import ImageSet
from common.seeding import numpy_generator

_SIZE = 32  # pixels a side, where no size is asked for
_LEAST = 16  # with fewer, a star and a circle look alike
_FINER = 4  # outlines are drawn so many times as large, and averaged down
_HELD_OUT = 0.2

Points = Sequence[tuple[float, float]]
"""Corners of an outline, (x, y) with y downwards, in a circle of radius 1.1 about the middle."""


def _arc(radius: float, start: float, end: float, middle: float = 0.0, corners: int = 49) -> Points:
    """Returns corners of an arc about (``middle``, 0), from one angle to another in turns; 0 is up, 1/4 right."""
    turns = [2 * math.pi * turn for turn in np.linspace(start, end, corners)]
    return [(middle + radius * math.sin(turn), -radius * math.cos(turn)) for turn in turns]


def _star(outer: float, inner: float) -> Points:
    """Returns five points, the first one up, and the corners between them, at two distances from the middle."""
    turns = [math.pi * place / 5 for place in range(10)]
    radii = [outer, inner] * 5
    return [(radius * math.sin(turn), -radius * math.cos(turn)) for radius, turn in zip(radii, turns, strict=True)]


def _cross(half: float) -> Points:
    """Returns four arms of length 1, each twice ``half`` wide."""
    corners = [(-half, -1.0), (half, -1.0), (half, -half)]
    for _ in range(3):
        corners += [(-y, x) for x, y in corners[-3:]]  # a quarter turn on
    return corners


def _heart() -> Points:
    """Returns a heart: 16 sin^3 t across, and 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t up, over 16."""
    turns = [math.pi * place / 24 for place in range(48)]
    waves = ((13, 1), (-5, 2), (-2, 3), (-1, 4))
    return [(math.sin(turn) ** 3, -sum(a * math.cos(k * turn) for a, k in waves) / 16) for turn in turns]


OUTLINES: dict[str, Points] = {
    "circle": _arc(0.95, 0, 1),
    "ring": [*_arc(1.0, 0, 1), *_arc(0.55, 1, 0)],
    "square": [(-0.78, -0.78), (0.78, -0.78), (0.78, 0.78), (-0.78, 0.78)],
    "diamond": [(0, -1.05), (0.7, 0), (0, 1.05), (-0.7, 0)],
    "triangle": [(0, -1), (0.95, 0.75), (-0.95, 0.75)],
    "star": _star(1.1, 0.45),
    "cross": _cross(0.32),
    "arrow": [(0, -1), (0.85, -0.1), (0.3, -0.1), (0.3, 1), (-0.3, 1), (-0.3, -0.1), (-0.85, -0.1)],
    "heart": _heart(),
    "moon": [*_arc(1.0, 0.06, -0.56), *_arc(1.02, -0.44, -0.06, middle=0.75)],
}
"""The outline of each class, by its name, in the order of labels."""


class Shapes(DataSource):
    """Pictures of one shape each, in one colour on another: ten kinds, as many pictures of each (within one).

    Place, size (a radius of 0.26 to 0.40 of the side), tilt (up to 15 degrees) and both colours are drawn by chance,
    by numbers that are the same for every run and every site; one of the two colours is bright, the other dark.
    ``data.image-size`` is their size, 32 where it is not set. ``data.root`` is not needed, and ignored.
    """

    source: ClassVar[str] = "drawn by fedgan: no photographs, nobody's data"

    num_images: int = Field(10_000, ge=50, le=1_000_000, description="pictures, of which a fifth is held out")

    def load(self, root: Path | None, *, image_size: int = 0, download: bool = True) -> Dataset:
        """Returns the pictures, drawn anew; see ``DataSource.load``.

        Raises:
            ConfigError: An ``image_size`` of 1 to 15, or a negative one.
        """
        size = image_size or _SIZE
        if size < _LEAST:
            raise ConfigError(f"data.image-size={image_size}: shapes need {_LEAST} pixels or more, or 0 for {_SIZE}")
        labels = np.arange(self.num_images) % len(OUTLINES)
        images = ImageSet(torch.from_numpy(_drawn(labels, size)), torch.from_numpy(labels))
        train, test = stratified_split(labels, _HELD_OUT)
        return Dataset(self.component_name(), images.subset(train), images.subset(test), tuple(OUTLINES))

    def status(self, root: Path | None) -> str:
        """Returns that nothing is missing; see ``DataSource.status``."""
        return f"ready: drawn when it is read ({self.num_images:,} pictures of {len(OUTLINES)} shapes, no download)"


def _drawn(labels: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.uint8]:
    """Returns pictures (N, 3, size, size) of the shapes that ``labels`` (N,) name."""
    chance = numpy_generator(0, "shapes")
    num = len(labels)
    places = 0.5 + chance.uniform(-0.09, 0.09, (num, 2))
    radii = chance.uniform(0.26, 0.40, num)
    tilts = np.radians(chance.uniform(-15, 15, num))
    bright = _colours(chance, num, 0.75, 1.0)
    dark = _colours(chance, num, 0.05, 0.35)
    shape_is_bright = chance.random(num) < 0.5
    pictures = np.empty((num, 3, size, size), np.uint8)
    outlines = [np.asarray(outline) for outline in OUTLINES.values()]
    for row, label in enumerate(labels):
        covered = _covered(outlines[label], size, places[row], radii[row], tilts[row])
        lit = covered if shape_is_bright[row] else 1 - covered
        colours = dark[row, :, None, None] + lit * (bright[row] - dark[row])[:, None, None]
        pictures[row] = np.rint(255 * colours)
    return pictures


def _colours(chance: np.random.Generator, num: int, least: float, most: float) -> npt.NDArray[np.float64]:
    """Returns colours (num, 3) in [0, 1] of any hue, strong or pale, whose largest part is in [``least``, ``most``]."""
    hues = chance.random((num, 1)) * 6
    strengths = chance.uniform(0.4, 1.0, (num, 1))
    pure = np.clip(np.abs((hues + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    colours: npt.NDArray[np.float64] = chance.uniform(least, most, (num, 1)) * (1 - strengths * (1 - pure))
    return colours


def _covered(
    outline: npt.NDArray[np.float64], size: int, place: npt.NDArray[np.float64], radius: float, tilt: float
) -> npt.NDArray[np.float64]:
    """Returns which share of each pixel an outline covers, (size, size) in [0, 1]."""
    turn = np.array([[math.cos(tilt), math.sin(tilt)], [-math.sin(tilt), math.cos(tilt)]])
    corners = (outline @ turn * radius + place) * size * _FINER
    mask = Image.new("L", (size * _FINER, size * _FINER))
    ImageDraw.Draw(mask).polygon([(x, y) for x, y in corners.tolist()], fill=255)
    return np.asarray(mask.reduce(_FINER)) / 255
