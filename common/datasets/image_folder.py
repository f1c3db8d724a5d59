"""A folder of image files, one sub folder a class, as torchvision's ImageFolder lays them out."""

from pathlib import Path
from typing import ClassVar

import torch
from PIL import ImageColor
from pydantic import Field, field_validator

from common.datasets import pictures
from common.datasets.base import UNLABELLED, Dataset, DataSource, squared, stratified_split
from common.datasets.folders import failed, scan
from common.datasets.layout import CLASSES, Layout, laid_out, listed_classes
from common.datasets.remarks import Remarks, listed, printable
from common.errors import DataError
from common.examples import ImageSet

CROPPED = "{n} [picture that is|pictures that are] not square lost the ends of [its|their] longer side"
ENLARGED = "{n} [picture|pictures] smaller than {size}x{size} pixels [was|were] enlarged"

Labelled = list[tuple[Path, int]]  # image files with their labels


class ImageFolder(DataSource):
    """Image files at ``data.root``: ``CLASS/*.png`` and the like, at any depth, or ``train/CLASS``, ``test/CLASS``.

    Without ``train`` and ``test``, a fixed share is held out. Without class folders, the images have no labels. All
    of them are held in memory, as bytes.
    """

    is_public: ClassVar[bool] = False
    source: ClassVar[str] = "the layout of torchvision.datasets.ImageFolder"

    held_out: float = Field(0.2, gt=0, lt=1, description="share to hold out of a folder without train and test")
    grey: bool = Field(False, description="one channel of grey instead of three of colour")
    classes: str = Field("", description=CLASSES)
    background: str = Field("white", description="colour to lay below transparent parts: a name, or #RRGGBB")
    window: str = Field(
        "",
        description="how values of more than 8 bits become 8: LOW,HIGH is black,white; full: the range of the file's"
        " type; each: that of each picture's own values; empty: such pictures are refused",
    )

    @field_validator("background")
    @classmethod
    def _is_colour(cls, name: str) -> str:
        try:
            opaque = len(ImageColor.getrgb(name)) == 3
        except ValueError:
            opaque = False
        if not opaque:
            raise ValueError("no colour; give a name such as white or black, or #RRGGBB")
        return name

    @field_validator("window")
    @classmethod
    def _is_window(cls, text: str) -> str:
        if text not in ("", "full", "each"):
            pictures.window(text)
        return text

    def load(self, root: Path | None, *, image_size: int = 0, download: bool = True) -> Dataset:
        """Returns all images below ``root``; see ``DataSource.load``."""
        place = self.located(root)
        remarks = Remarks(place)
        layout = self._layout(place, remarks)
        decoded = [self._decoded(part, image_size, remarks) for part in layout.parts]
        if len(decoded) == 1:
            whole = decoded[0]
            if len(whole) < 2:
                raise DataError(f"{printable(place)} has a single image; at least 2 are needed, as a share is held out")
            decoded = [whole.subset(chosen) for chosen in stratified_split(whole.labels.numpy(), self.held_out)]
        train, test = decoded
        name = f"{self.component_name()} {printable(place)}"
        by_rule = len(layout.parts) == 1
        labelled, words = layout.names != UNLABELLED, remarks.sentences()
        return Dataset(name, train, test, layout.names, labelled, words, parted_by_rule=by_rule)

    def status(self, root: Path | None) -> str:
        """Returns how many images and classes ``root`` has; see ``DataSource.status``."""
        place = self.located(root)
        try:
            layout = self._layout(place, Remarks(place))
        except DataError as error:
            return f"missing: {error}"
        counts = [len(part) for part in layout.parts]
        found = (
            f"{counts[0]} training and {counts[1]} test images"
            if len(counts) == 2
            else f"{counts[0]} images, of which a share of {self.held_out:g} is held out"
        )
        return f"there, not checked: {printable(place)} ({found}; classes: {listed(layout.names)})"

    def _layout(self, root: Path, remarks: Remarks) -> Layout:
        if not root.is_dir():
            what = "is a file, not a folder" if root.is_file() else "is not a folder"
            raise DataError(
                f"{printable(root)} {what}; set data.root to one with a sub folder of images for each class"
            )
        named = listed_classes(self.classes)
        layout = laid_out(scan(root, pictures.endings(), remarks, named), named, remarks)
        for part, what in zip(layout.parts, ("training ", "test ") if len(layout.parts) == 2 else ("",), strict=True):
            if not part:
                left_out = "".join(f"; {sentence}" for sentence in remarks.sentences())
                raise DataError(
                    f"{printable(root)} has no {what}image files (.png, .jpg or others that Pillow reads) where"
                    f" they are looked for{left_out}"
                )
        return layout

    def _decoded(self, part: Labelled, image_size: int, remarks: Remarks) -> ImageSet:
        colour = ImageColor.getrgb(self.background)
        reading = pictures.Reading("L" if self.grey else "RGB", (self.background, colour[:3]), self.window)
        images: list[torch.Tensor] = []
        failures: list[tuple[Path, DataError]] = []
        sized = Path()  # one of the size of all so far
        for path, _ in part:
            try:
                pixels = reading.decode(path, remarks)
            except DataError as error:
                failures.append((path, error))
                continue
            image = _square(pixels, path, image_size, remarks)
            if images and image.shape != images[0].shape:
                first, other = tuple(images[0].shape[1:]), tuple(image.shape[1:])
                raise DataError(
                    f"images differ in size: {printable(sized)} is {first}, {printable(path)} is {other} pixels;"
                    " set data.image-size to crop and resize them"
                )
            sized = path
            images.append(image)
        if failures:
            raise failed(failures, len(part))
        return ImageSet(torch.stack(images), torch.tensor([label for _, label in part]))


def _square(pixels: torch.Tensor, path: Path, image_size: int, remarks: Remarks) -> torch.Tensor:
    """Returns a picture (C, H, W) as ``squared`` does."""
    height, width = pixels.shape[1:]
    if image_size and height != width:
        remarks.add(CROPPED, path)
    if image_size > min(height, width):
        remarks.add(ENLARGED.replace("{size}", str(image_size)), path)
    try:
        return squared(pixels.unsqueeze(0), image_size)[0]
    except DataError as error:
        raise DataError(f"{printable(path)}: {error}") from None
