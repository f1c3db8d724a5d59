"""Generated images as a notebook has them: an array that shows itself, and that says where it comes from."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from torch import Tensor

from common.errors import ConfigError
from common.examples.images import tile
from common.generation import generate
from simulations.runs import provenance
from simulations.runs.generator import LoadedGenerator
from simulations.runs.image_files import write_images
from simulations.runs.sample_requests import Draw, Plain, Request, place
from simulations.runs.samples import Samples

_MOST_SHOWN = 400
_MOST_COLUMNS = 20
_SHOWN_SIDE = 56  # pixels of an image in a notebook, at least


@dataclass(frozen=True, eq=False)
class Images(Samples):
    """Generated images. A notebook shows them as one picture.

    Attributes:
        pixels: uint8 (N, S, S) if grey, else (N, S, S, 3).
        labels: int64 (N,): the class that each was asked for, -1 where the generator takes no label.
        origin: Where they come from (``provenance.origin``).
        columns: Images in a row of the picture.
    """

    endings: ClassVar[tuple[str, ...]] = (".npz", ".png", "")
    places: ClassVar[str] = "a .npz, to a .png, or to a folder (no ending)"

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    origin: Mapping[str, Any]
    columns: int = 10

    @classmethod
    def make(cls, trained: LoadedGenerator, run: str, settings: Draw, labels: Tensor, in_turn: bool) -> Self:
        images = generate(trained.generator, labels, settings.seed)
        pixels = images[:, 0].numpy() if images.shape[1] == 1 else images.permute(0, 2, 3, 1).contiguous().numpy()
        held = len(trained.held)
        columns = min(held, _MOST_COLUMNS) if in_turn and trained.conditional and held > 1 else 10
        return cls(pixels, trained.shown(labels).numpy(), trained.origin(run, settings.seed), columns)

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
        settings = _Picture.of({"columns": self.columns if columns is None else columns})
        if not len(self):
            raise ConfigError("there is no image to make a picture of")
        return Image.fromarray(tile(self._tensor(), min(settings.columns, len(self))))

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Writes the images to a ``.npz``, to a ``.png`` with all of them, or to a folder of PNGs; returns the path.

        Args:
            path: The file or folder; not in a run directory.
            overwrite: Whether to replace a file that is there, or images in a folder.

        Raises:
            ConfigError: No image, another ending, a place that cannot be written, or where something is already.
        """
        out = place("path", path)
        self.check_place("images", Draw(), out, overwrite, "give overwrite=True")
        self.write(out)
        return out

    def write(self, out: Path) -> None:
        write_images(self._tensor(), torch.from_numpy(self.labels), out, self.columns, self.origin)

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
