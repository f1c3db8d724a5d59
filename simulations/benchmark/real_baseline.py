"""Real training images in the place of generated ones: the ceiling of every metric, and the floor of every distance."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from client.data import load
from common.config import RunConfig
from common.datasets.base import Dataset
from common.files import write_atomically
from common.folds import with_fold_held_out
from common.metrics import METRICS, Scores
from common.seeding import numpy_generator
from server.evaluation.evaluator import Evaluator
from server.records.sample_picture import SAMPLE_COLUMNS, sample_labels, write_preview


def real_images(base: RunConfig, seeds: Sequence[int], folder: Path) -> Path:
    """Scores real images and draws some, where that is not done yet, and returns the file with the scores.

    Args:
        base: The protocol; what counts are its data and its evaluation.
        seeds: Each draws other images.
        folder: Where the results are kept for every table of these data.

    Returns:
        JSON by seed, each with ``scores`` and the numbers of images; beside it a picture of the same name.
    """
    file = folder / f"real-{_key(base)}.json"
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    missing = [seed for seed in seeds if str(seed) not in known]
    if missing:
        dataset = with_fold_held_out(base, load(base.data))
        torch.set_num_threads(base.local.num_threads)
        folder.mkdir(parents=True, exist_ok=True)
        for seed in missing:
            known[str(seed)] = _score(base.replaced({"seed": seed}), dataset)
            write_atomically(file, json.dumps(known, indent=1).encode())
        _draw(dataset, file.with_suffix(".png"))
    return file


def _score(config: RunConfig, dataset: Dataset) -> dict[str, object]:
    """Returns the scores of training images drawn without replacement, as many as are generated of a network."""
    evaluator = Evaluator(config, dataset)
    train, settings = dataset.train, config.evaluation
    order = torch.from_numpy(numpy_generator(config.seed, "real-images").permutation(len(train)))
    few, many = order[: settings.final_num_samples], order[: settings.utility_num_samples]
    shared = [name for name in evaluator.available if METRICS[name].sample == "shared"]
    alone = [name for name in evaluator.available if METRICS[name].sample == "balanced"]
    scores: Scores = evaluator.compare(train.stored[few], shared)
    scores |= evaluator.compare(train.stored[many], alone, train.labels[many])
    extractor = evaluator.extractor.name if evaluator.extractor else "none"
    return {"scores": scores, "extractor": extractor, "images": len(few), "utility-images": len(many)}


def _draw(dataset: Dataset, path: Path) -> None:
    """Writes real examples laid out as the samples of a run, a row a class."""
    real = dataset.spec.preview_real(dataset.test, dataset.held, [dataset.class_names[k] for k in dataset.held])
    if real is not None:
        write_preview(real, None, path)
        return
    train = dataset.train
    of_class = [iter(torch.nonzero(train.labels == k)[:, 0].tolist()) for k in range(dataset.spec.num_classes)]
    chosen = [next(of_class[label], 0) for label in sample_labels(dataset.held).tolist()]
    write_preview(dataset.spec.preview(train.stored[chosen], SAMPLE_COLUMNS), None, path)


def _key(base: RunConfig) -> str:
    """Returns what tells results of other data or other metrics apart."""
    evaluation = base.evaluation
    parts = [base.data.name, base.data.image_size, evaluation.extractor, evaluation.final_num_samples]
    parts += [evaluation.utility_num_samples, base.model_component.conditional]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:10]
