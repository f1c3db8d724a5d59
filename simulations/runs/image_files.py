"""Generated examples as files."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from common.errors import ConfigError
from common.examples import ExampleSpec, ImageSpec
from common.examples.images import tile
from simulations.runs import provenance
from simulations.runs.output_place import check_target, new_file, new_folder

_PICTURE = re.compile(r"\d{5,}-label--?\d+\.png")


def check_place(out: Path, overwrite: bool, way_out: str, spec: ExampleSpec | None = None) -> None:
    """Checks that ``write_examples`` can write to a place, before examples are made.

    Args:
        spec: Of the examples; None: images. Others than images go into a ``.npz`` or a ``.txt``.
        out: A ``.npz``, a ``.png``, or a folder (no ending).
        overwrite: Whether what is there may be replaced: a file; in a folder, the images written there before.
        way_out: What to do for that to be so, for the message.

    Raises:
        ConfigError: Another ending, a place in a run directory, or something is there.
    """
    if spec is not None and not isinstance(spec, ImageSpec):
        if out.suffix.lower() not in (".npz", ".txt"):
            raise ConfigError(f"{str(out)!r}: this run makes {spec.kind}: write to a .npz, or to a .txt")
    elif out.suffix.lower() not in (".npz", ".png", ""):
        raise ConfigError(f"{str(out)!r}: write to a .npz, to a .png, or to a folder (no ending)")
    check_target(out, overwrite, way_out)


def write_examples(
    spec: ExampleSpec, examples: Tensor, labels: Tensor, out: Path, columns: int, origin: Mapping[str, Any]
) -> None:
    """Writes examples to ``out``, by its ending; whole, or not at all. See ``write_images`` for images.

    Others are the array ``examples`` of a ``.npz``, beside ``labels``, or the lines of a ``.txt``.

    Raises:
        ConfigError: No example, or a place that cannot be written.
    """
    if isinstance(spec, ImageSpec):
        write_images(examples, labels, out, columns, origin)
        return
    if not len(examples):
        raise ConfigError(f"{str(out)!r}: there is no example to write")
    told = provenance.written({**origin, "number": len(examples)})
    if out.suffix.lower() == ".npz":
        arrays = {"examples": examples.numpy(), "labels": labels.numpy(), provenance.KEY: np.array(told)}
        with new_file(out) as place, place.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
    else:
        with new_file(out) as place:
            place.write_text(f"{spec.preview(examples, columns)}\n", encoding="utf-8")


def write_images(images: Tensor, labels: Tensor, out: Path, columns: int, origin: Mapping[str, Any]) -> None:
    """Writes images to ``out``, by its ending; whole, or not at all.

    Args:
        images: uint8 (N, C, S, S), C = 1 or 3.
        labels: int64 (N,).
        out: Passed by ``check_place``. ``.npz``: arrays ``images`` uint8, (N, S, S) if grey, else (N, S, S, 3), and
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
        told = {provenance.KEY: np.array(provenance.written({**origin, "number": len(images)}))}
        with new_file(out) as place, place.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, images=pixels, labels=labels.numpy(), **told)
    elif out.suffix.lower() == ".png":
        text = provenance.png_text({**origin, "number": len(images)})
        with new_file(out) as place:
            Image.fromarray(tile(images, min(columns, len(images)))).save(place, "png", pnginfo=text)
    else:
        with new_folder(out, stale=_PICTURE) as folder:
            for index, (image, label) in enumerate(zip(pixels, labels.tolist(), strict=True)):
                text = provenance.png_text({**origin, "label": label, "index": index})
                Image.fromarray(image).save(folder / f"{index:05d}-label-{label}.png", pnginfo=text)
