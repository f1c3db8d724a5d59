"""``fedgan export RUN --to dataset``: labelled images that a generator made, split, and with a card."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.datasets.base import UNLABELLED, stratified_split
from common.errors import ConfigError
from common.generation import in_parts
from server.records.run_directory import RunDirectory
from simulations.export import card
from simulations.export.data_card import data_card
from simulations.export.export_requests import DatasetExport
from simulations.export.formats import require
from simulations.export.layouts import LAYOUTS, About, Batch
from simulations.runs import provenance
from simulations.runs.generator import LoadedGenerator
from simulations.runs.output_place import new_folder

MANIFEST = "dataset.json"


def export_dataset(run: RunDirectory, trained: LoadedGenerator, out: Path, wanted: DatasetExport) -> dict[str, Any]:
    """Writes a data set of generated images, and returns what ``dataset.json`` says of it.

    Image number i, which is in its file name or in its row, is the one that ``fedgan generate`` makes as number i with
    the same seed.

    Args:
        run: The run.
        trained: Its generator.
        out: A new folder for the images, ``dataset.json`` and the data card, ``README.md``.
        wanted: Which images.

    Raises:
        ConfigError: A class that the generator does not know, an optional package that is missing, a folder that is
            there already or cannot be written.
        DivergenceError: The generator's images are not finite.
    """
    spec = trained.images("fedgan export --to dataset")
    writer = LAYOUTS[wanted.layout]()
    if writer.needs:
        require(*writer.needs, wanted.layout)
    if wanted.label is not None and not trained.conditional:
        raise ConfigError(f"label={wanted.label}: this run's generator is not conditional and takes no label")
    if wanted.label is not None:
        trained.require_known([wanted.label], "label={}")
    asked = torch.full((wanted.num,), wanted.label) if wanted.label is not None else trained.in_turn(wanted.num)
    labels, names = (asked, list(trained.class_names)) if trained.conditional else (asked * 0, list(UNLABELLED))
    places = _split(labels, wanted.validation)
    shared = provenance.origin(run.name, trained.config.data.name, trained.round, wanted.seed, trained.digest)
    with new_folder(out) as folder:
        about = About(
            {name: len(rows) for name, rows in places.items() if len(rows)}, names, trained.conditional, shared
        )
        files = writer.write(folder, _batches(trained, asked, wanted.seed, labels, places), about)
        manifest = {
            **card.facts(run, trained),
            "layout": wanted.layout,
            "seed": wanted.seed,
            "label": wanted.label,
            "labelled": trained.conditional,
            "class-names": names,
            "train": len(places["train"]),
            "validation": len(places["validation"]),
            "label-counts": {name: _counts(labels[rows], len(names)) for name, rows in places.items()},
            "files": files,
        }
        text = data_card(run, trained, spec, manifest, writer.usage, wanted.licence)
        (folder / "README.md").write_text(text, encoding="utf-8")
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    return manifest


def _batches(
    trained: LoadedGenerator, asked: Tensor, seed: int, labels: Tensor, places: Mapping[str, Tensor]
) -> Iterator[Batch]:
    """Yields the images as they are made, so that a data set may be larger than memory."""
    first = 0
    for images in in_parts(trained.generator, asked, seed):
        for part, rows in places.items():
            start, end = torch.searchsorted(rows, torch.tensor([first, first + len(images)])).tolist()
            own = rows[start:end]
            if len(own):
                yield Batch(part, images[own - first], labels[own], own)
        first += len(images)


def _split(labels: Tensor, share: float) -> dict[str, Tensor]:
    if not share:
        return {"train": torch.arange(len(labels)), "validation": torch.empty(0, dtype=torch.int64)}
    train, validation = stratified_split(labels.numpy().astype(np.int64), share)
    return {"train": torch.from_numpy(train), "validation": torch.from_numpy(validation)}


def _counts(labels: Tensor, num_classes: int) -> list[int]:
    return [int(count) for count in torch.bincount(labels, minlength=num_classes)]
