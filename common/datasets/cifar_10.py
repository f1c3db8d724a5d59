"""CIFAR-10: 50,000 training and 10,000 test pictures of animals and vehicles, 32 x 32 in colour."""

import contextlib
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import torch

from common.datasets.base import Dataset, DataSource, naming, squared
from common.errors import DataError, FetchError
from common.examples import ImageSet

log = logging.getLogger("fedgan.data")

_FOLDER = "cifar-10-batches-py"
_FILES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta")


class Cifar10(DataSource):
    """Pictures of ten kinds of things, in ``data.root``/cifar-10-batches-py as torchvision keeps them.

    They are pickles, which could run any code: torchvision reads those alone that have the checksums of the published
    ones.
    """

    source: ClassVar[str] = "Krizhevsky 2009, Learning multiple layers of features from tiny images"
    class_names: ClassVar[tuple[str, ...]] = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )

    def archive(self) -> Any:
        """Returns torchvision's CIFAR10, imported only here, for its import is slow."""
        from torchvision.datasets import CIFAR10

        return CIFAR10

    def load(self, root: Path | None, *, image_size: int = 0, download: bool = True) -> Dataset:
        """Returns the pictures of ``root``, downloading them if they are not there; see ``DataSource.load``."""
        place = self._place(root)
        if missing := _missing(place):
            self._obtain(place, missing, download)
        with naming(place / _FOLDER):
            train, test = (self._read(place, is_train, image_size) for is_train in (True, False))
            return Dataset(f"{self.component_name()} {place / _FOLDER}", train, test, self.class_names)

    def status(self, root: Path | None) -> str:
        """Returns which files are in ``root`` and which are missing; see ``DataSource.status``."""
        place = self._place(root)
        if missing := _missing(place):
            return f"missing in {place / _FOLDER}: {', '.join(missing)} (downloaded on first use)"
        return f"there, not checked: {place / _FOLDER}"

    def _place(self, root: Path | None) -> Path:
        """Returns the folder that holds the files' own, which ``root`` may be as well."""
        place = self.located(root)
        return place.parent if place.name == _FOLDER else place

    def _read(self, place: Path, is_train: bool, image_size: int) -> ImageSet:
        try:
            found = self.archive()(place, train=is_train, download=False)
        except (OSError, RuntimeError, EOFError) as error:
            raise DataError(
                f"{place / _FOLDER}: the files are not those that were published ({' '.join(str(error).split())});"
                " remove the folder, and it is downloaded again"
            ) from error
        pixels = torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous()
        return ImageSet(squared(pixels, image_size), torch.tensor(found.targets, dtype=torch.int64))

    def _obtain(self, place: Path, missing: list[str], download: bool) -> None:
        kind, reason = DataError, "downloading is switched off"
        if place.exists() and not place.is_dir():
            reason = f"{place} is no folder"
        elif download:
            try:
                return self._download(place)
            except (OSError, RuntimeError) as error:
                kind, reason = FetchError, f"the download failed: {' '.join(str(error).split())}"
        raise kind(
            f"data {self.component_name()!r}: {place / _FOLDER} lacks {', '.join(missing)}, and {reason}."
            f" Put these files there, or set data.root to the folder that holds {_FOLDER}, or use the embedded digits,"
            " which need no download: data.name=mnist-10k"
        )

    def _download(self, place: Path) -> None:
        log.info("downloading %s into %s", self.component_name(), place / _FOLDER)
        place.mkdir(parents=True, exist_ok=True)
        # Into a folder aside, then file by file into place: of processes that start together, none reads a torn file.
        with tempfile.TemporaryDirectory(dir=place, prefix=".download-") as aside:
            with contextlib.redirect_stdout(sys.stderr):  # torchvision prints its progress
                self.archive()(aside, download=True)
            (place / _FOLDER).mkdir(exist_ok=True)
            for file in _FILES:
                os.replace(Path(aside) / _FOLDER / file, place / _FOLDER / file)


def _missing(place: Path) -> list[str]:
    return [file for file in _FILES if not (place / _FOLDER / file).is_file()]
