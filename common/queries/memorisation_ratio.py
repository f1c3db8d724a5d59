"""Whether the published generator repeats a client's images."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from common import metrics
from common.config import RunConfig
from common.errors import DataError
from common.generation import generate, load_sampler
from common.metrics.memorisation import MEMORISATION
from common.queries.base import ClientQuery, Figures, Known, RefusalError, Respondent, by_client
from common.seeding import derive_seed, numpy_generator
from common.tree import Tree

_MOST_COMPARED = 1000  # of the training images, and of those held out


class MemorisationRatio(ClientQuery[tuple[float, float]]):
    """Asks for ``metrics.memorisation`` of the generator: ``ratio`` and ``error``, float64 ().

    As many training images as are held out are looked at, at most 1000, and ``evaluation.num-samples`` generated ones
    whose labels are distributed as the client's. In pixels where there is no extractor.

    The scores are those of ``metrics.memorisation_scores``.
    """

    title: ClassVar[str] = MEMORISATION.name

    def needed(self, config: RunConfig) -> bool:
        return config.evaluation.holdout > 0

    def answer(self, question: Tree, client: Respondent) -> Tree:
        config, images, held_out = client.config, client.examples, client.held_out
        num = 0 if held_out is None else min(len(held_out), len(images), _MOST_COMPARED)
        if held_out is None or num < 2:
            raise RefusalError(f"{num} held-out image(s) are too few to tell memorisation")
        seed = derive_seed(config.seed, "memorisation", client.partition)
        extractor = client.extractor

        def described(images: Tensor) -> Tensor:
            return images.flatten(1).float() / 255 if extractor is None else extractor(images)

        draw = numpy_generator(seed, "chosen")
        chosen = [draw.choice(len(part), num, replace=False) for part in (images, held_out)]
        sides = [part.subset(rows).stored for part, rows in zip((images, held_out), chosen, strict=True)]
        labels = images.labels[torch.from_numpy(draw.integers(len(images.labels), size=config.evaluation.num_samples))]
        fakes = generate(load_sampler(config.model_component, client.spec, question, client.device), labels, seed)
        ratio, error = metrics.memorisation(*(described(part) for part in (*sides, fakes)))
        return {"ratio": torch.tensor(ratio, dtype=torch.float64), "error": torch.tensor(error, dtype=torch.float64)}

    def read(self, answer: Tree, known: Known) -> tuple[float, float]:
        values = [answer.get(key) for key in ("ratio", "error")]
        ratio, error = (math.nan if v is None or v.numel() != 1 else float(v) for v in values)
        if not (math.isfinite(ratio) and math.isfinite(error) and ratio >= 0):
            raise DataError(f"ratio {ratio:g} with error {error:g} is none")
        return ratio, error

    def scores(self, answers: Mapping[int, tuple[float, float]], num_clients: int) -> Figures:
        ratios = by_client({k: ratio for k, (ratio, _) in answers.items()}, num_clients)
        errors = by_client({k: error for k, (_, error) in answers.items()}, num_clients)
        return metrics.memorisation_scores(ratios, errors)
