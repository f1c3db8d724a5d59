"""Data sets in MNIST's IDX files, in the folders where torchvision keeps them; torchvision itself only downloads."""

import gzip
import math
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from common.datasets.archives import kind_of
from common.datasets.base import Dataset, naming, squared
from common.datasets.torchvision_source import TorchvisionSource
from common.errors import DataError
from common.examples import ImageSet

_GZIP, _IDX = b"\x1f\x8b", b"\0\0\x08"
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


class IdxSource(TorchvisionSource):
    """Base of the sources in ``ROOT/FOLDER/raw``: four IDX files, each plain or with ``.gz``; ROOT may be read-only.

    ROOT may also be one of these folders, or any folder with the four files.
    """

    files: ClassVar[tuple[str, ...]] = FILES
    class_names: ClassVar[tuple[str, ...]]

    def load(self, root: Path | None, *, image_size: int = 0, download: bool = True) -> Dataset:
        """Returns the images of ``root``, downloading them if they are not there; see ``DataSource.load``."""
        raw = self.obtain(self.located(root), download)
        with naming(raw):
            train, test = (self._read(raw, prefix, image_size) for prefix in ("train", "t10k"))
            return Dataset(f"{self.component_name()} {raw}", train, test, self.class_names)

    def folder_in(self, root: Path) -> Path:
        """Returns the folder of the IDX files: ``ROOT/FOLDER/raw``, or the part of it that ``root`` is already.

        A folder that holds all of the files is it too, unless it is that of another data set.
        """
        usual = root / self.below_root
        own = usual.parent.name
        others = {"MNIST", "EMNIST", "KMNIST", "QMNIST", "FashionMNIST"} - {own}
        for folder in (usual, root / "raw", root):
            is_own = folder == usual or not others & {folder.name, folder.parent.name}
            if is_own and not _missing(folder):
                return folder
        return usual

    def missing(self, root: Path) -> list[str]:
        """Returns the names of the IDX files that ``root`` lacks."""
        return _missing(self.folder_in(root))

    def _read(self, raw: Path, prefix: str, image_size: int) -> ImageSet:
        pixels, labels = (
            read_idx(raw / f"{prefix}-{end}", n) for end, n in (("images-idx3-ubyte", 3), ("labels-idx1-ubyte", 1))
        )
        if len(pixels) != len(labels):
            raise DataError(f"{raw}: {len(pixels)} images and {len(labels)} labels of {prefix}; replace these files")
        images = squared(torch.from_numpy(pixels).unsqueeze(1), image_size)
        return ImageSet(images, torch.from_numpy(labels).long())


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
