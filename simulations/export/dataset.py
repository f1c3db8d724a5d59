"""``fedgan export RUN --to dataset``: labelled images that a generator made, split, and with a card."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.datasets.base import UNLABELLED, stratified_split
from common.errors import ConfigError
from common.generation import balanced_labels, generate
from server.journal import RunDirectory
from simulations.export import card
from simulations.export.data_card import data_card
from simulations.export.formats import require
from simulations.export.layouts import LAYOUTS, Part
from simulations.export.place import new_folder
from simulations.serve import provenance
from simulations.trained import Trained

MANIFEST = "dataset.json"


@dataclass(frozen=True)
class Wanted:
    """Which images.

    Attributes:
        num: Of all images.
        validation: Share of them that is held out; 0: none.
        seed: Same seed, same images.
        label: Only images of this class; None: all classes in turn.
    """

    num: int
    validation: float = 0.1
    seed: int = 0
    label: int | None = None


def export_dataset(
    run: RunDirectory, trained: Trained, layout: str, out: Path, wanted: Wanted, *, licence: str = ""
) -> dict[str, Any]:
    """Writes a data set of generated images, and returns what ``dataset.json`` says of it.

    Image number i, which is in its file name or in its row, is the one that ``fedgan generate`` makes as number i with
    the same seed.

    Args:
        run: The run.
        trained: Its generator.
        layout: One of ``LAYOUTS``.
        out: A new folder for the images, ``dataset.json`` and the data card, ``README.md``.
        wanted: Which images.
        licence: Of the images, for the card; empty: none is stated.

    Raises:
        ConfigError: An unknown layout, a share or a class out of range, an optional package that is missing, a folder
            that is there already or cannot be written.
        DivergenceError: The generator's images are not finite.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"--layout {layout}: {', '.join(LAYOUTS)}")
    writer = LAYOUTS[layout]()
    if writer.needs:
        require(*writer.needs, f"--layout {layout}")
    classes = trained.shape.num_classes
    if wanted.label is not None and not trained.conditional:
        raise ConfigError(f"--label {wanted.label}: this run's generator is not conditional and takes no label")
    if wanted.label is not None and not 0 <= wanted.label < classes:
        raise ConfigError(f"--label {wanted.label}: the generator knows 0 to {classes - 1}")
    if not 0 <= wanted.validation < 1:
        raise ConfigError(f"--validation {wanted.validation:g}: a share of the images, 0 or more and below 1")
    if wanted.num < 2 and wanted.validation:
        raise ConfigError(f"--num {wanted.num}: at least 2 images can be split; or set --validation 0")
    asked = (
        torch.full((wanted.num,), wanted.label) if wanted.label is not None else balanced_labels(wanted.num, classes)
    )
    labels, names = (asked, card.class_names(run, trained)) if trained.conditional else (asked * 0, list(UNLABELLED))
    places = _split(labels, wanted.validation)
    shared = provenance.origin(run.path.name, trained.config.data.name, trained.round, wanted.seed, trained.digest)
    with new_folder(out) as folder:
        images = generate(trained.generator, asked, wanted.seed)
        parts = [Part(name, images, labels, rows) for name, rows in places.items() if len(rows)]
        files = writer.write(folder, parts, names, trained.conditional, shared)
        manifest = {
            **card.facts(run, trained),
            "layout": layout,
            "seed": wanted.seed,
            "label": wanted.label,
            "labelled": trained.conditional,
            "class-names": names,
            "train": len(places["train"]),
            "validation": len(places["validation"]),
            "label-counts": {name: _counts(labels[rows], len(names)) for name, rows in places.items()},
            "files": files,
        }
        text = data_card(run, trained, manifest, writer.usage, licence)
        (folder / "README.md").write_text(text, encoding="utf-8")
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    return manifest


def _split(labels: Tensor, share: float) -> dict[str, Tensor]:
    if not share:
        return {"train": torch.arange(len(labels)), "validation": torch.empty(0, dtype=torch.int64)}
    train, validation = stratified_split(labels.numpy().astype(np.int64), share)
    return {"train": torch.from_numpy(train), "validation": torch.from_numpy(validation)}


def _counts(labels: Tensor, num_classes: int) -> list[int]:
    return [int(count) for count in torch.bincount(labels, minlength=num_classes)]
