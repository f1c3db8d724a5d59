"""A folder of image files, one sub folder a class, as torchvision's ImageFolder lays them out."""

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import Field

from common.datasets.base import UNLABELLED, Dataset, DataSource, ImageSet, squared, stratified_split
from common.errors import DataError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

Listing = list[tuple[Path, int]]  # image files with their labels


class ImageFolder(DataSource):
    """Image files at ``data.root``: ``CLASS/*.png`` and the like, at any depth, or ``train/CLASS``, ``test/CLASS``.

    Without ``train`` and ``test``, a fixed share is held out. Without class folders, the images have no labels. All
    of them are held in memory, as bytes.
    """

    source: ClassVar[str] = "the layout of torchvision.datasets.ImageFolder"

    held_out: float = Field(0.2, gt=0, lt=1, description="share to hold out of a folder without train and test")
    grey: bool = Field(False, description="one channel of grey instead of three of colour")
    classes: str = Field(
        "",
        description="class folders in the order of their labels, separated by commas; empty: those there are, sorted."
        " Sites with different classes need the same list, and may lack some of its folders",
    )

    def load(self, root: Path | None, *, image_size: int = 0, download: bool = True) -> Dataset:
        """Returns all images below ``root``; see ``DataSource.load``."""
        place = self.located(root)
        parts, names = self._listings(place)
        loaded = [self._decoded(listing, image_size) for listing in parts]
        if len(loaded) == 1:
            whole = loaded[0]
            loaded = [whole.subset(chosen) for chosen in stratified_split(whole.labels.numpy(), self.held_out)]
        return Dataset(f"{self.component_name()} {place}", loaded[0], loaded[1], names, names != UNLABELLED)

    def status(self, root: Path | None) -> str:
        """Returns how many images and classes ``root`` has; see ``DataSource.status``."""
        try:
            parts, names = self._listings(self.located(root))
        except DataError as error:
            return f"missing: {error}"
        counts = (
            f"{len(parts[0])} training and {len(parts[1])} test images"
            if len(parts) == 2
            else f"{len(parts[0])} images, of which a share of {self.held_out:g} is held out"
        )
        return f"ready: {self.located(root)} ({counts}; classes: {', '.join(names)})"

    def _listings(self, root: Path) -> tuple[list[Listing], tuple[str, ...]]:
        """Returns the training and the test files, or all files in one listing; and the class names."""
        if not root.is_dir():
            raise DataError(f"{root} is not a folder; set data.root to one with a sub folder of images for each class")
        split = [root / part for part in ("train", "test") if _folders(root / part)]
        if len(split) == 1:
            raise DataError(
                f"{root} has {split[0].name}/CLASS folders, but not both train/CLASS and test/CLASS; add the other,"
                f" or set data.root={split[0]} to hold out a share of it"
            )
        folders = split or [root]
        names = tuple(name.strip() for name in self.classes.split(",") if name.strip()) or tuple(_folders(folders[0]))
        if len(set(names)) < len(names):
            raise DataError(f"data classes={self.classes!r} names a class twice")
        for folder in folders:
            if unknown := [name for name in _folders(folder) if name not in names]:
                raise DataError(f"{folder} has classes that are not among {', '.join(names)}: {', '.join(unknown)}")
        if names:
            parts = [[(file, k) for k, name in enumerate(names) for file in _files(part / name)] for part in folders]
        else:
            names, parts = UNLABELLED, [[(file, 0) for file in _files(root)]]
        for folder, listing in zip(folders, parts, strict=True):
            if not listing:
                raise DataError(f"{folder} has no image files ({', '.join(SUFFIXES)}) where they are looked for")
        return parts, names

    def _decoded(self, listing: Listing, image_size: int) -> ImageSet:
        mode: Literal["L", "RGB"] = "L" if self.grey else "RGB"
        images: list[torch.Tensor] = []
        for path, _ in listing:
            image = squared(_decode(path, mode).unsqueeze(0), image_size)[0]
            if images and image.shape != images[0].shape:
                first, other = tuple(images[0].shape[1:]), tuple(image.shape[1:])
                raise DataError(
                    f"images differ in size: {listing[0][0]} is {first}, {path} is {other} pixels;"
                    " set data.image-size to crop and resize them"
                )
            images.append(image)
        return ImageSet(torch.stack(images), torch.tensor([label for _, label in listing]))


def _folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def _decode(path: Path, mode: Literal["L", "RGB"]) -> torch.Tensor:
    """Returns one file as a (C, H, W) uint8 tensor; raises DataError if it is damaged or deeper than 8 bits."""
    try:
        with Image.open(path) as picture:
            deep = picture.mode.startswith(("I", "F"))
            pixels = np.array(picture.convert(mode))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a readable image ({error}); remove or replace it") from error
    if deep:  # Pillow would cut such values off at 255
        raise DataError(f"{path}: has more than 8 bits a channel; convert it to 8 bits")
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1).contiguous()
