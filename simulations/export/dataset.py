"""``fedgan export RUN --to dataset``: labelled images or texts that a generator made, split, and with a card."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.datasets.base import UNLABELLED, stratified_split
from common.errors import ConfigError
from server.records.run_directory import RunDirectory
from simulations.export import card
from simulations.export.data_card import data_card
from simulations.export.export_requests import DatasetExport
from simulations.export.format_base import require
from simulations.export.layouts import About, Batch, ImageFolder, Layout, Npz, Parquet
from simulations.export.subjects import Subject, subject_of
from simulations.export.text_layouts import Jsonl, TextParquet
from simulations.runs.generator import LoadedGenerator
from simulations.runs.output_place import new_folder

MANIFEST = "dataset.json"

LAYOUTS: dict[str, dict[str, type[Layout]]] = {
    "images": {"image-folder": ImageFolder, "npz": Npz, "parquet": Parquet},
    "text": {"jsonl": Jsonl, "parquet": TextParquet},
}
"""By kind of example and name, the default first."""


def export_dataset(run: RunDirectory, trained: LoadedGenerator, out: Path, request: DatasetExport) -> dict[str, Any]:
    """Writes a data set of generated images or texts, and returns what ``dataset.json`` says of it.

    Example number i, which is in its file name or in its row, is that which ``fedgan generate`` makes as number i with
    the same seed.

    Args:
        run: The run.
        trained: Its generator.
        out: A new folder for the examples, ``dataset.json`` and the data card, ``README.md``.
        request: Which of them.

    Raises:
        ConfigError: A class that the generator does not know, an optional package that is missing, a folder that is
            there already or cannot be written.
        DivergenceError: What the generator makes is not finite.
    """
    subject = subject_of(trained, "fedgan export --to dataset")
    layouts = LAYOUTS[trained.spec.kind]
    layout: str = request.layout or next(iter(layouts))
    if layout not in layouts:
        raise ConfigError(f"layout={layout!r} is not for {subject.noun}: take {' or '.join(layouts)}")
    writer = layouts[layout]()
    if writer.needs:
        require(*writer.needs, layout)
    if request.label is not None and not trained.conditional:
        raise ConfigError(f"label={request.label}: this run's generator is not conditional and takes no label")
    if request.label is not None:
        trained.require_known([request.label], "label={}")
    requested = torch.full((request.num,), request.label) if request.label is not None else trained.in_turn(request.num)
    labels, names = (requested, list(trained.class_names)) if trained.conditional else (requested * 0, list(UNLABELLED))
    places = _split(labels, request.validation)
    shared = trained.origin(run.name, request.seed)
    with new_folder(out) as folder:
        about = About(
            {name: len(rows) for name, rows in places.items() if len(rows)}, names, trained.conditional, shared
        )
        files = writer.write(folder, _batches(subject, requested, request.seed, labels, places), about)
        manifest = {
            **card.facts(run, trained),
            "layout": layout,
            "examples": subject.noun,
            "seed": request.seed,
            "label": request.label,
            "labelled": trained.conditional,
            "class-names": names,
            "train": len(places["train"]),
            "validation": len(places["validation"]),
            "label-counts": {name: _counts(labels[rows], len(names)) for name, rows in places.items()},
            "files": files,
        }
        text = data_card(run, subject, manifest, writer.usage, request.licence)
        (folder / "README.md").write_text(text, encoding="utf-8")
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    return manifest


def _batches(
    subject: Subject, requested: Tensor, seed: int, labels: Tensor, places: Mapping[str, Tensor]
) -> Iterator[Batch]:
    """Yields the examples as they are made, so that a data set may be larger than memory."""
    first = 0
    for made in subject.in_parts(requested, seed):
        for part, rows in places.items():
            start, end = torch.searchsorted(rows, torch.tensor([first, first + len(made)])).tolist()
            own = rows[start:end]
            if len(own):
                yield Batch(part, subject.picked(made, own - first), labels[own], own)
        first += len(made)


def _split(labels: Tensor, share: float) -> dict[str, Tensor]:
    if not share:
        return {"train": torch.arange(len(labels)), "validation": torch.empty(0, dtype=torch.int64)}
    train, validation = stratified_split(labels.numpy().astype(np.int64), share)
    return {"train": torch.from_numpy(train), "validation": torch.from_numpy(validation)}


def _counts(labels: Tensor, num_classes: int) -> list[int]:
    return [int(count) for count in torch.bincount(labels, minlength=num_classes)]
