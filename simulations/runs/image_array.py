"""Generated images as a notebook has them: an array that shows itself, and that says where it comes from."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from torch import Tensor

from common.errors import ConfigError
from common.examples.images import tile
from simulations.runs import provenance
from simulations.runs.image_files import check_place, write_images
from simulations.runs.sample_requests import Plain, Request, place

_MOST_SHOWN = 400
_SHOWN_SIDE = 56  # pixels of an image in a notebook, at least


@dataclass(frozen=True, eq=False)
class Images:
    """Generated images. A notebook shows them as one picture.

    Attributes:
        pixels: uint8 (N, S, S) if grey, else (N, S, S, 3).
        labels: int64 (N,): the class that each was asked for, -1 where the generator takes no label.
        origin: Where they come from (``provenance.origin``).
        columns: Images in a row of the picture.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    origin: Mapping[str, Any]
    columns: int = 10

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self.pixels)

    def __getitem__(self, which: "int | slice | Sequence[int] | NDArray[Any]") -> "Images":
        """Returns some of the images: one, a slice, or those that an index or a mask picks.

        Raises:
            IndexError: There are no such images.
        """
        chosen = np.atleast_1d(np.arange(len(self))[which])
        if chosen.ndim != 1:
            raise IndexError(f"{which!r}: one index, a slice, or a list or mask of one dimension")
        return Images(self.pixels[chosen], self.labels[chosen], self.origin, self.columns)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Returns the pixels, for NumPy."""
        return np.array(self.pixels, dtype=dtype, copy=copy)

    def picture(self, columns: int | None = None) -> Image.Image:
        """Returns one picture of all images, row by row.

        Raises:
            ConfigError: There is no image, or ``columns`` is no number of them.
        """
        wanted = _Picture.of({"columns": self.columns if columns is None else columns})
        if not len(self):
            raise ConfigError("there is no image to make a picture of")
        return Image.fromarray(tile(self._tensor(), min(wanted.columns, len(self))))

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Writes the images to a ``.npz``, to a ``.png`` with all of them, or to a folder of PNGs; returns the path.

        Args:
            path: The file or folder; not in a run directory.
            overwrite: Whether to replace a file that is there, or images in a folder.

        Raises:
            ConfigError: No image, another ending, a place that cannot be written, or where something is already.
        """
        out = place("path", path)
        check_place(out, overwrite, "give overwrite=True")
        write_images(self._tensor(), torch.from_numpy(self.labels), out, self.columns, self.origin)
        return out

    def _tensor(self) -> Tensor:
        images = torch.from_numpy(self.pixels)
        return images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)

    def _repr_png_(self) -> bytes | None:
        """Returns what a notebook shows: small images enlarged, at most the first 400."""
        if not len(self):
            return None
        picture = self[:_MOST_SHOWN].picture()
        factor = -(-_SHOWN_SIDE // self.pixels.shape[1])
        picture = picture.resize((factor * picture.width, factor * picture.height), Image.Resampling.NEAREST)
        buffer = io.BytesIO()
        picture.save(buffer, "png", pnginfo=provenance.png_text({**self.origin, "number": len(self)}))
        return buffer.getvalue()

    def __repr__(self) -> str:
        """Returns how many images there are, of what size, and where they come from."""
        size = self.pixels.shape[1]
        return f"<{len(self)} images, {size}x{size}, of round {self.origin['round']} of {self.origin['run']!r}>"


class _Picture(Request):
    columns: Annotated[int, Plain, Field(ge=1)]
