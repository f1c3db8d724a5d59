"""Whether the published generator repeats a client's images."""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from common import metrics
from common.audit import Attack, attack, copying
from common.config import RunConfig
from common.errors import DataError
from common.generation import generate, load_sampler
from common.metrics.membership import NEAREST, attack_scores, copying_scores
from common.metrics.memorisation import MEMORISATION
from common.metrics.prdc import nearest_distances
from common.queries.base import ClientQuery, Figures, Known, RefusalError, Respondent, by_client
from common.seeding import derive_seed, numpy_generator
from common.tree import Tree

_MOST_COMPARED = 1000  # of the training images, and of those held out


@dataclass(frozen=True)
class Repeated:
    """What a client's answer means.

    Attributes:
        ratio: See ``metrics.memorisation``.
        error: Its standard error.
        copying: See ``common.audit.copying``; None: all distances are the same.
        nearest: What the attack by the nearest generated image achieves.
    """

    ratio: float
    error: float
    copying: float | None
    nearest: Attack


class MemorisationRatio(ClientQuery[Repeated]):
    """Asks for ``metrics.memorisation`` of the generator: ``ratio`` and ``error``, float64 ().

    Beside them for ``copies``, float64 (), and for ``nearest``, float64 (8,): the attack that takes images near a
    generated one for training images (GAN-Leaks, Chen et al. 2020, arXiv:1909.03935, black box).

    As many training images as are held out are looked at, at most 1000, and ``evaluation.num-samples`` generated ones
    whose labels are distributed as the client's; canaries are not. In pixels where there is no extractor.

    The scores are those of ``metrics.memorisation_scores``, and of ``metrics.MEMBERSHIP`` as far as they are known.
    """

    title: ClassVar[str] = MEMORISATION.name

    def needed(self, config: RunConfig) -> bool:
        return config.evaluation.holds_out

    def answer(self, question: Tree, client: Respondent) -> Tree:
        config, images, held_out = client.config, client.natural, client.held_out
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
        near, far, made = (described(part) for part in (*sides, fakes))
        ratio, error = metrics.memorisation(near, far, made)
        whole = described(images.stored)
        found = {
            "ratio": torch.tensor(ratio, dtype=torch.float64),
            "error": torch.tensor(error, dtype=torch.float64),
            "nearest": attack(*(-nearest_distances(part, made) for part in (near, far))).values(),
        }
        with suppress(DataError):  # which says that all distances are the same
            z = copying(whole, far, made, held_out.labels[torch.from_numpy(chosen[1])], labels)
            found["copies"] = torch.tensor(z, dtype=torch.float64)
        return found

    def read(self, answer: Tree, known: Known) -> Repeated:
        values = [answer.get(key) for key in ("ratio", "error")]
        ratio, error = (math.nan if v is None or v.numel() != 1 else float(v) for v in values)
        if not (math.isfinite(ratio) and math.isfinite(error) and ratio >= 0):
            raise DataError(f"ratio {ratio:g} with error {error:g} is none")
        z = answer.get("copies")
        if z is not None and not (z.numel() == 1 and math.isfinite(float(z))):
            raise DataError(f"{z.tolist()} is no z-score")
        return Repeated(ratio, error, None if z is None else float(z), Attack.read(answer.get("nearest")))

    def scores(self, answers: Mapping[int, Repeated], num_clients: int) -> Figures:
        ratios = by_client({k: answer.ratio for k, answer in answers.items()}, num_clients)
        errors = by_client({k: answer.error for k, answer in answers.items()}, num_clients)
        found = metrics.memorisation_scores(ratios, errors)
        if copies := {k: answer.copying for k, answer in answers.items() if answer.copying is not None}:
            found |= copying_scores(copies, num_clients)
        nearest = {k: answer.nearest for k, answer in answers.items()}
        return found | attack_scores(NEAREST, nearest, num_clients)

    def findings(self, answer: Repeated) -> dict[str, Any]:
        ratio = {"ratio": answer.ratio, "ratio-error": answer.error, "copies": answer.copying}
        return ratio | {NEAREST: answer.nearest.record()}
