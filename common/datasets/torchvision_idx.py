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

from common.datasets.archives import kind_of
from common.datasets.base import Dataset, DataSource, naming, squared
from common.errors import DataError, FetchError
from common.examples import ImageSet

logger = logging.getLogger(__name__)

_GZIP, _IDX = b"\x1f\x8b", b"\0\0\x08"
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


class IdxSource(DataSource):
    """Base of the sources in ``ROOT/FOLDER/raw``: four IDX files, each plain or with ``.gz``; ROOT may be read-only.

    ROOT may also be one of these folders, or any folder with the four files.
    """

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
        raw = self.raw(place)
        with naming(raw):
            train, test = (self._read(raw, prefix, image_size) for prefix in ("train", "t10k"))
            return Dataset(f"{self.component_name()} {raw}", train, test, self.class_names)

    def status(self, root: Path | None) -> str:
        """Returns which files are in ``root`` and which are missing; see ``DataSource.status``."""
        place = self.located(root)
        missing = self.missing(place)
        if not missing:
            return f"there, not checked: {self.raw(place)}"
        return f"missing in {self.raw(place)}: {', '.join(missing)} (downloaded on first use)"

    def raw(self, root: Path) -> Path:
        """Returns the folder of the IDX files: ``ROOT/FOLDER/raw``, or the part of it that ``root`` is already.

        A folder that holds all of the files is it too, unless it is that of another data set.
        """
        usual = root / self.folder / "raw"
        others = {"MNIST", "EMNIST", "KMNIST", "QMNIST", "FashionMNIST"} - {self.folder}
        for folder in (usual, root / "raw", root):
            own = folder == usual or not others & {folder.name, folder.parent.name}
            if own and not _missing(folder):
                return folder
        return usual

    def missing(self, root: Path) -> list[str]:
        """Returns the names of the IDX files that ``root`` lacks."""
        return _missing(self.raw(root))

    def _read(self, raw: Path, prefix: str, image_size: int) -> ImageSet:
        pixels, labels = (
            read_idx(raw / f"{prefix}-{end}", n) for end, n in (("images-idx3-ubyte", 3), ("labels-idx1-ubyte", 1))
        )
        if len(pixels) != len(labels):
            raise DataError(f"{raw}: {len(pixels)} images and {len(labels)} labels of {prefix}; replace these files")
        images = squared(torch.from_numpy(pixels).unsqueeze(1), image_size)
        return ImageSet(images, torch.from_numpy(labels).long())

    def _obtain(self, root: Path, download: bool) -> None:
        kind, reason = DataError, "downloading is switched off"
        if root.exists() and not root.is_dir():
            reason = f"{root} is no folder"
        elif download:
            try:
                return self._download(root)
            except (OSError, RuntimeError) as error:
                kind, reason = FetchError, f"the download failed: {' '.join(str(error).split())}"
        raise kind(
            f"data {self.component_name()!r}: {self.raw(root)} lacks {', '.join(self.missing(root))}, and {reason}."
            " Put these files there, or set data.root to the folder that holds"
            f" {self.folder}/raw, or use the embedded images, which need no download: data.name=mnist-10k"
        )

    def _download(self, root: Path) -> None:
        raw = root / self.folder / "raw"
        logger.info("downloading %s into %s", self.component_name(), raw)
        root.mkdir(parents=True, exist_ok=True)
        # Into a folder aside, then file by file into place: of processes that start together, none reads a torn file.
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as aside:
            with contextlib.redirect_stdout(sys.stderr):  # torchvision prints its progress
                self.archive()(aside, download=True)
            raw.mkdir(parents=True, exist_ok=True)
            for file in FILES:
                os.replace(self.raw(Path(aside)) / file, raw / file)


def _missing(folder: Path) -> list[str]:
    return [file for file in FILES if _found(folder / file) is None]


def _found(path: Path) -> Path | None:
    """Returns the file that holds an IDX file: itself, packed, or with the point that others write before idx."""
    pointed = path.with_name(path.name.replace("-idx", ".idx"))
    names = (path, path.with_name(f"{path.name}.gz"), pointed, pointed.with_name(f"{pointed.name}.gz"))
    return next((file for file in names if file.is_file()), None)


def read_idx(path: Path, num_dimensions: int) -> npt.NDArray[np.uint8]:
    """Returns the array of one IDX file of bytes.

    Format: two zero bytes, the type (8: unsigned byte), the number of dimensions, each dimension as a big-endian
    32-bit integer, then the bytes (LeCun, Cortes and Burges, "The IDX file format").

    Args:
        path: The plain file; if there is none, ``path`` with ``.gz`` is read, or one with ``.idx`` for ``-idx``.
        num_dimensions: 3 for images (N, H, W), 1 for labels (N,).

    Raises:
        DataError: A file that cannot be read, is no such IDX file, or is truncated.
    """
    path = _found(path) or path
    try:
        data = path.read_bytes()
        if data.startswith(_GZIP):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: unreadable, or cut short ({error}); replace the file") from error
    start = 4 + 4 * num_dimensions
    if len(data) < start or data[:4] != bytes((0, 0, 8, num_dimensions)):
        known = kind_of(data[:512]) if data[:3] != _IDX else None
        raise DataError(
            f"{path}: begins with {data[:4].hex(' ') or 'nothing'}, so it is no IDX file of {num_dimensions}-d bytes"
            f"{f', but {known}' if known else '; replace the file'}"
        )
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", num_dimensions, offset=4))
    if len(data) - start != math.prod(shape):
        raise DataError(f"{path}: holds {len(data) - start} bytes instead of {math.prod(shape)}; replace the file")
    if not len(data) - start:
        raise DataError(f"{path}: holds nothing; replace the file")
    return np.frombuffer(bytearray(data), np.uint8, offset=start).reshape(shape)
