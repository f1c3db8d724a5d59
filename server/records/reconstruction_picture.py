"""The picture of reconstructions of a run: held-out examples, and below each what the networks make of it."""

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.examples import ExampleSet, ExampleSpec
from server.records.sample_picture import SAMPLE_COLUMNS, write_preview

_PAIRS_OF_ROWS = 3


def chosen_rows(labels: Tensor, held: Collection[int]) -> Tensor:
    """Returns which of the examples with these labels, int64 (N,), are shown: the first of each class, then the second.

    Classes that are not ``held`` are left out, as the networks have never seen one. At most three rows of ten, and
    whole rows only where there is one.
    """
    seen: Counter[int] = Counter()
    order = []
    for row, label in enumerate(labels.tolist()):
        if label in held:
            order.append((seen[label], label, row))
            seen[label] += 1
    rows = [row for *_, row in sorted(order)[: _PAIRS_OF_ROWS * SAMPLE_COLUMNS]]
    return torch.tensor(rows[: max(len(rows) // SAMPLE_COLUMNS * SAMPLE_COLUMNS, SAMPLE_COLUMNS)], dtype=torch.int64)


def draw_reconstructions(spec: ExampleSpec, real: Tensor, made: Tensor, origin: Mapping[str, Any], path: Path) -> None:
    """Writes a picture of examples in rows, each row above its reconstructions.

    Args:
        spec: Of the examples.
        real: The examples (N, ...), N >= 1, as they are stored.
        made: Their reconstructions, likewise.
        origin: Where they come from; the picture tells it.
        path: Where to, as ``.png``; kinds that are shown as text are written beside it, as ``.txt``.
    """
    rows = zip(torch.split(real, SAMPLE_COLUMNS), torch.split(made, SAMPLE_COLUMNS), strict=True)
    both = torch.cat([part for pair in rows for part in pair])
    write_preview(spec.preview(both, min(SAMPLE_COLUMNS, len(real))), origin, path)


def usable(held_out: ExampleSet | None, held: Collection[int]) -> tuple[Tensor, Tensor] | None:
    """Returns the examples to be shown and their labels; None where there are none."""
    if held_out is None or not len(rows := chosen_rows(held_out.labels, held)):
        return None
    return held_out.take(rows)
