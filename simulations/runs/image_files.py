"""Generated images as files."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from common.errors import ConfigError
from common.examples.images import tile
from simulations.runs import provenance
from simulations.runs.output_place import new_file, new_folder
from simulations.runs.samples import write_arrays

_PICTURE = re.compile(r"\d{5,}-label--?\d+\.png")


def write_images(images: Tensor, labels: Tensor, out: Path, columns: int, origin: Mapping[str, Any]) -> None:
    """Writes images to ``out``, by its ending; whole, or not at all.

    Args:
        images: uint8 (N, C, S, S), C = 1 or 3.
        labels: int64 (N,).
        out: ``.npz``: arrays ``images`` uint8, (N, S, S) if grey, else (N, S, S, 3), and
            ``labels``; ``.png``: one picture with ``columns`` images a row; no ending: a folder with a PNG an image,
            ``00042-label-7.png``, in place of those that it holds.
        columns: Images in a row of a picture.
        origin: Where they come from (``provenance.origin``), which every file tells.

    Raises:
        ConfigError: No image, or a place that cannot be written.
    """
    if not len(images):
        raise ConfigError(f"{str(out)!r}: there is no image to write")
    pixels = images[:, 0].numpy() if images.shape[1] == 1 else images.permute(0, 2, 3, 1).contiguous().numpy()
    if out.suffix.lower() == ".npz":
        write_arrays(out, {"images": pixels, "labels": labels.numpy()}, origin)
    elif out.suffix.lower() == ".png":
        text = provenance.png_text({**origin, "number": len(images)})
        with new_file(out) as place:
            Image.fromarray(tile(images, min(columns, len(images)))).save(place, "png", pnginfo=text)
    else:
        with new_folder(out, stale=_PICTURE) as folder:
            for index, (image, label) in enumerate(zip(pixels, labels.tolist(), strict=True)):
                text = provenance.png_text({**origin, "label": label, "index": index})
                Image.fromarray(image).save(folder / f"{index:05d}-label-{label}.png", pnginfo=text)
