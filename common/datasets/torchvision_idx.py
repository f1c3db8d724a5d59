"""Data sets in MNIST's IDX files, in the folders where torchvision keeps them; torchvision itself only downloads."""

import contextlib
import gzip
import logging
import math
import os
import sys
import tempfile
import zlib
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from common.datasets.base import Dataset, DataSource, ImageSet, squared
from common.errors import DataError

logger = logging.getLogger(__name__)

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


class IdxSource(DataSource):
    """Base of the sources in ``ROOT/FOLDER/raw``: four IDX files, each plain or with ``.gz``; ROOT may be read-only."""

    folder: ClassVar[str]
    class_names: ClassVar[tuple[str, ...]]

    @abstractmethod
    def archive(self) -> Any:
        """Returns the torchvision class that downloads the files (imported only here, for its import is slow)."""

    def load(self, root: Path | None, *, image_size: int = 0, download: bool = True) -> Dataset:
        """Returns the images of ``root``, downloading them if they are not there; see ``DataSource.load``."""
        place = self.located(root)
        if self.missing(place):
            self._obtain(place, download)
        train, test = (self._read(place, prefix, image_size) for prefix in ("train", "t10k"))
        return Dataset(self.component_name(), train, test, self.class_names)

    def status(self, root: Path | None) -> str:
        """Returns which files are in ``root`` and which are missing; see ``DataSource.status``."""
        place = self.located(root)
        missing = self.missing(place)
        if not missing:
            return f"ready: {self.raw(place)}"
        return f"missing in {self.raw(place)}: {', '.join(missing)} (downloaded on first use)"

    def raw(self, root: Path) -> Path:
        """Returns the folder of the IDX files."""
        return root / self.folder / "raw"

    def missing(self, root: Path) -> list[str]:
        """Returns the names of the IDX files that ``root`` lacks."""
        raw = self.raw(root)
        return [file for file in FILES if not ((raw / file).is_file() or (raw / f"{file}.gz").is_file())]

    def _read(self, root: Path, prefix: str, image_size: int) -> ImageSet:
        images = torch.from_numpy(read_idx(self.raw(root) / f"{prefix}-images-idx3-ubyte", 3)).unsqueeze(1)
        labels = torch.from_numpy(read_idx(self.raw(root) / f"{prefix}-labels-idx1-ubyte", 1)).long()
        return ImageSet(squared(images, image_size), labels)

    def _obtain(self, root: Path, download: bool) -> None:
        reason = "downloading is switched off"
        if download:
            try:
                return self._download(root)
            except (OSError, RuntimeError) as error:
                reason = f"the download failed: {' '.join(str(error).split())}"
        raise DataError(
            f"data {self.component_name()!r}: {self.raw(root)} lacks {', '.join(self.missing(root))}, and {reason}."
            " Put these files there, or set data.root to the folder that holds"
            f" {self.folder}/raw, or use the embedded images, which need no download: data.name=mnist-10k"
        )

    def _download(self, root: Path) -> None:
        logger.info("downloading %s into %s", self.component_name(), self.raw(root))
        self.raw(root).mkdir(parents=True, exist_ok=True)
        # Into a folder aside, then file by file into place: of processes that start together, none reads a torn file.
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as aside:
            with contextlib.redirect_stdout(sys.stderr):  # torchvision prints its progress
                self.archive()(aside, download=True)
            for file in FILES:
                os.replace(self.raw(Path(aside)) / file, self.raw(root) / file)


def read_idx(path: Path, num_dimensions: int) -> npt.NDArray[np.uint8]:
    """Returns the array of one IDX file of bytes.

    Format: two zero bytes, the type (8: unsigned byte), the number of dimensions, each dimension as a big-endian
    32-bit integer, then the bytes (LeCun, Cortes and Burges, "The IDX file format").

    Args:
        path: The plain file; if there is none, ``path`` with ``.gz`` is read.
        num_dimensions: 3 for images (N, H, W), 1 for labels (N,).

    Raises:
        DataError: A file that cannot be read, is no such IDX file, or is truncated.
    """
    packed = path.with_name(f"{path.name}.gz")
    try:
        data = path.read_bytes() if path.is_file() else gzip.decompress(packed.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: unreadable ({error})") from error
    start = 4 + 4 * num_dimensions
    if len(data) < start or data[:4] != bytes((0, 0, 8, num_dimensions)):
        raise DataError(f"{path}: begins with {data[:4].hex(' ')}, so it is no IDX file of {num_dimensions}-d bytes")
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", num_dimensions, offset=4))
    if len(data) - start != math.prod(shape):
        raise DataError(f"{path}: holds {len(data) - start} bytes instead of {math.prod(shape)}; replace the file")
    return np.frombuffer(bytearray(data), np.uint8, offset=start).reshape(shape)
