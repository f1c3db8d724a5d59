"""The picture of samples of a run: a row a class, the same noise at every round."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from common import provenance
from common.files import write_atomically
from common.generation import balanced_labels, generate
from common.models import Sampler

SAMPLE_COLUMNS = 10
_SAMPLE_ROWS = 20


def draw_samples(generator: Sampler, held: Sequence[int], origin: Mapping[str, Any], path: Path) -> None:
    """Writes a picture of generated examples, a row a class; the same noise for every generator of a run.

    Args:
        generator: See ``common.generation.generate``.
        held: The classes that it was trained on.
        origin: Where they come from (``provenance.origin``), with the ``seed`` of their noise; the picture tells it.
        path: Where to, as ``.png``; kinds that are shown as text are written beside it, as ``.txt``.

    Raises:
        DivergenceError: The images are not finite.
    """
    labels = sample_labels(held)
    told = {**origin, "number": len(labels), "labels": labels.tolist()}
    write_preview(generator.spec.preview(generate(generator, labels, origin["seed"]), SAMPLE_COLUMNS), told, path)


def write_preview(preview: npt.NDArray[np.uint8] | str, told: Mapping[str, Any] | None, path: Path) -> None:
    """Writes what ``ExampleSpec.preview`` gives.

    Args:
        preview: A picture, or text.
        told: What the file says of itself (``common.provenance``); None: nothing.
        path: Where to, as ``.png``; text is written beside it, as ``.txt``.
    """
    if isinstance(preview, str):
        first = "" if told is None else f"{provenance.written(told)}\n"
        write_atomically(path.with_suffix(".txt"), f"{first}{preview}\n".encode())
        return
    buffer = io.BytesIO()
    text = None if told is None else provenance.png_text(told)
    Image.fromarray(preview).save(buffer, format="png", pnginfo=text)
    write_atomically(path, buffer.getvalue())


def sample_labels(held: Sequence[int]) -> Tensor:
    """Returns the labels of the sample picture, int64: a row a class, up to 20 classes; 10 rows of a single one."""
    rows = min(len(held), _SAMPLE_ROWS) if len(held) > 1 else SAMPLE_COLUMNS
    return balanced_labels(rows, held).repeat_interleave(SAMPLE_COLUMNS)
