"""CIFAR-10: 50,000 training and 10,000 test pictures of animals and vehicles, 32 x 32 in colour."""

from pathlib import Path
from typing import Any, ClassVar

import torch

from common.datasets.base import Dataset, naming, squared
from common.datasets.torchvision_source import TorchvisionSource
from common.errors import DataError
from common.examples import ImageSet


class Cifar10(TorchvisionSource):
    """Pictures of ten kinds of things, in ``data.root``/cifar-10-batches-py as torchvision keeps them.

    They are pickles, which could run any code: torchvision reads those alone that have the checksums of the published
    ones.
    """

    source: ClassVar[str] = "Krizhevsky 2009, Learning multiple layers of features from tiny images"
    below_root: ClassVar[str] = "cifar-10-batches-py"
    files: ClassVar[tuple[str, ...]] = (
        *(f"data_batch_{number}" for number in range(1, 6)),
        "test_batch",
        "batches.meta",
    )
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
        """Returns torchvision's CIFAR10."""
        from torchvision.datasets import CIFAR10

        return CIFAR10

    def load(self, root: Path | None, *, image_size: int = 0, download: bool = True) -> Dataset:
        """Returns the pictures of ``root``, downloading them if they are not there; see ``DataSource.load``."""
        folder = self.obtain(self.located(root), download)
        with naming(folder):
            train, test = (self._read(folder, is_train, image_size) for is_train in (True, False))
            return Dataset(f"{self.component_name()} {folder}", train, test, self.class_names)

    def located(self, root: Path | None) -> Path:
        """Returns the folder that holds the files' own, which ``root`` may be as well; see ``DataSource.located``."""
        place = super().located(root)
        return place.parent if place.name == self.below_root else place

    def _read(self, folder: Path, is_train: bool, image_size: int) -> ImageSet:
        try:
            found = self.archive()(folder.parent, train=is_train, download=False)
        except (OSError, RuntimeError, EOFError) as error:
            raise DataError(
                f"{folder}: the files are not those that were published ({' '.join(str(error).split())});"
                " remove the folder, and it is downloaded again"
            ) from error
        pixels = torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous()
        return ImageSet(squared(pixels, image_size), torch.tensor(found.targets, dtype=torch.int64))
