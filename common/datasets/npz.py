"""One NumPy archive with the images, and perhaps their labels, of one site."""

import zipfile
import zlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from common.datasets.base import UNLABELLED, Dataset, DataSource, ImageSet, squared, stratified_split
from common.errors import DataError

KEYS = ("images", "labels", "test_images", "test_labels")
_ORIGIN = "fedgan"  # where generated images come from: not an array of images, and not needed


class Npz(DataSource):
    """An ``.npz`` file at ``data.root``.

    Its arrays: ``images``, uint8, (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3; if it likes, ``labels``,
    integers (N,); and if it likes, ``test_images`` and ``test_labels``, without which a fixed share is held out.
    """

    source: ClassVar[str] = "numpy.savez, numpy.savez_compressed"

    held_out: float = Field(0.2, gt=0, lt=1, description="share to hold out of a file without test_images")
    num_classes: int = Field(
        0,
        ge=0,
        description="number of classes; 0: the largest label + 1. Sites that lack classes need it set",
    )

    def load(self, root: Path | None, *, image_size: int = 0, download: bool = True) -> Dataset:
        """Returns the images of the file; see ``DataSource.load``."""
        path = self.located(root)
        arrays = _read(path)
        labelled = "labels" in arrays
        if labelled != ("test_labels" in arrays) and "test_images" in arrays:
            raise DataError(f"{path}: holds {_found(arrays)}; give both labels and test_labels, or neither")
        train = _image_set(path, arrays, "", image_size)
        if "test_images" in arrays:
            test = _image_set(path, arrays, "test_", image_size)
        else:
            chosen, held_out = stratified_split(train.labels.numpy(), self.held_out)
            train, test = train.subset(chosen), train.subset(held_out)
        names: tuple[str, ...] = UNLABELLED
        if labelled:
            largest = max(int(part.labels.max()) if len(part) else 0 for part in (train, test))
            names = tuple(str(label) for label in range(self.num_classes or largest + 1))
        return Dataset(f"{self.component_name()} {path}", train, test, names, labelled)

    def status(self, root: Path | None) -> str:
        """Returns whether the file is there, and its arrays; see ``DataSource.status``."""
        path = self.located(root)
        try:
            with zipfile.ZipFile(path) as archive:
                names = [name.removesuffix(".npy") for name in archive.namelist()]
        except FileNotFoundError:
            return f"missing: there is no file {path}"
        except (OSError, zipfile.BadZipFile) as error:
            return f"unreadable: {path} ({error})"
        return f"ready: {path} ({path.stat().st_size / 1e6:.1f} MB; {', '.join(names)})"


def _read(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: holds one array, not an archive of named ones; write it with numpy.savez")
            arrays = {key: loaded[key] for key in loaded.files if key != _ORIGIN}
    except FileNotFoundError:
        raise DataError(f"there is no file {path}; set data.root to an .npz file with 'images'") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: unreadable as .npz without pickles ({error})") from error
    if "images" not in arrays or set(arrays) - set(KEYS) or ("test_labels" in arrays and "test_images" not in arrays):
        raise DataError(f"{path}: holds {_found(arrays)}; expected images, and optionally {', '.join(KEYS[1:])}")
    return arrays


def _image_set(path: Path, arrays: dict[str, npt.NDArray[Any]], prefix: str, image_size: int) -> ImageSet:
    images = arrays[f"{prefix}images"]
    labels = arrays.get(f"{prefix}labels", np.zeros(len(images), np.int64) if images.ndim else np.zeros(0, np.int64))
    channels_last = images.ndim == 4 and images.shape[-1] in (1, 3)
    if images.dtype != np.uint8 or not (images.ndim == 3 or channels_last or images.shape[1:2] in ((1,), (3,))):
        raise DataError(
            f"{path}: {prefix}images is {images.shape} {images.dtype}; expected uint8 and (N, H, W), (N, H, W, C) or"
            " (N, C, H, W) with C = 1 or 3"
        )
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise DataError(
            f"{path}: {prefix}labels is {labels.shape} {labels.dtype}; expected integers, one for each of"
            f" {len(images)} images"
        )
    if images.ndim == 3:
        images = images[:, None]
    elif channels_last:
        images = images.transpose(0, 3, 1, 2)
    pixels = torch.from_numpy(np.ascontiguousarray(images))
    return ImageSet(squared(pixels, image_size), torch.from_numpy(labels.astype(np.int64)))


def _found(arrays: dict[str, npt.NDArray[Any]]) -> str:
    return ", ".join(f"{key} {value.shape} {value.dtype}" for key, value in arrays.items()) or "no arrays"
