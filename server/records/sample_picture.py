"""Samples of a run for people to look at: a picture or a page of text, by class, of the same noise at every round."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from common import provenance
from common.examples import ExampleSet, ExampleSpec
from common.files import write_atomically
from common.generation import balanced_labels, generate
from common.models import Sampler

SAMPLE_COLUMNS = ExampleSpec.preview_columns
_SAMPLE_ROWS = 20


def draw_samples(
    generator: Sampler, held: Sequence[int], origin: Mapping[str, Any], path: Path, class_names: Sequence[str] = ()
) -> None:
    """Writes generated examples, a row a class; the same noise for every generator of a run.

    Args:
        generator: See ``common.generation.generate``.
        held: The classes that it was trained on.
        origin: Where they come from (``provenance.origin``), with the ``seed`` of their noise; the file tells it.
        path: Where to, as ``.png``; kinds that are shown as text are written beside it, as ``.txt``.
        class_names: What a page of text calls each label; empty: labels mean nothing to the generator.

    Raises:
        DivergenceError: The examples are not finite.
    """
    columns = generator.spec.preview_columns
    labels = sample_labels(held, columns)
    facts = {**origin, "number": len(labels), "labels": labels.tolist()}
    facts |= {"way": generator.way} if generator.way else {}
    made = generate(generator, labels, origin["seed"], generator.preview_shape)
    write_preview(generator.spec.preview(made, columns, _headings(labels, columns, class_names)), facts, path)


def draw_real(
    spec: ExampleSpec, held_out: ExampleSet, held: Sequence[int], path: Path, class_names: Sequence[str] = ()
) -> None:
    """Writes real examples to be read beside samples, where the kind shows any; see ``draw_samples``."""
    labels = list(held)[:_SAMPLE_ROWS]
    headings = [class_names[label] for label in labels] if len(labels) > 1 and class_names else []
    real = spec.preview_real(held_out, labels, headings)
    if real is not None:
        write_preview(real, None, path)


def write_preview(preview: npt.NDArray[np.uint8] | str, facts: Mapping[str, Any] | None, path: Path) -> None:
    """Writes what ``ExampleSpec.preview`` gives.

    Args:
        preview: A picture, or text.
        facts: What the file says of itself (``common.provenance``); None: nothing.
        path: Where to, as ``.png``; text is written beside it, as ``.txt``.
    """
    if isinstance(preview, str):
        first = "" if facts is None else f"{provenance.written(facts)}\n\n"
        write_atomically(path.with_suffix(".txt"), f"{first}{preview}\n".encode())
        return
    buffer = io.BytesIO()
    text = None if facts is None else provenance.png_text(facts)
    Image.fromarray(preview).save(buffer, format="png", pnginfo=text)
    write_atomically(path, buffer.getvalue())


def sample_labels(held: Sequence[int], columns: int = SAMPLE_COLUMNS) -> Tensor:
    """Returns the labels of samples, int64: a row of ``columns`` a class, up to 20 classes; of one as many rows."""
    rows = min(len(held), _SAMPLE_ROWS) if len(held) > 1 else columns
    return balanced_labels(rows, held).repeat_interleave(columns)


def _headings(labels: Tensor, columns: int, class_names: Sequence[str]) -> list[str]:
    """Returns the name of the class of each row; empty where they are of one class, or it means nothing."""
    rows = labels[::columns].tolist()
    return [class_names[label] for label in rows] if class_names and len(set(rows)) > 1 else []
