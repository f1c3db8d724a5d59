"""Whether a generator repeats the images it was trained on: they lie nearer to its images than held-out ones do.

The distances are those from real images to the nearest generated one, as in Chen et al. 2020 (arXiv:1909.03935,
GAN-Leaks, the attack on published samples alone), and not from generated images to the nearest real one: one set of
generated images serves both sides, so that the training images need not be thinned out to as few as were held out,
which would hide most of what is repeated.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from common.errors import DataError
from common.metrics.base import Metric, Names, Score, Scores
from common.metrics.membership import far
from common.metrics.prdc import nearest_distances


def memorisation(trained: Tensor, held_out: Tensor, fake: Tensor) -> tuple[float, float]:
    """Returns a ratio and its standard error: mean distance to training images over that to held-out ones.

    A distance is that of a real image to the nearest generated one. 1: the generator knows the images that it was
    trained on no better than others of the same kind. **Lower is worse**: 0 if it repeats all of them.

    Args:
        trained: Features (N, D), N >= 2, of images that the generator was trained on.
        held_out: Features (M, D), M >= 2, of images of the same distribution that it was not trained on.
        fake: Features (K, D), K >= 1, of generated images.

    Raises:
        DataError: Too few images, or different numbers of features.
    """
    if min(len(trained), len(held_out)) < 2 or not len(fake):
        raise DataError(
            f"{len(trained)} training, {len(held_out)} held-out and {len(fake)} generated images are too few to "
            "tell memorisation"
        )
    near, far = nearest_distances(trained, fake), nearest_distances(held_out, fake)
    floor = torch.finfo(torch.float64).eps * (1 + float(fake.double().square().sum(1).max()) ** 0.5)
    ratio = (float(near.mean()) + floor) / (float(far.mean()) + floor)
    spread = sum(float(side.var()) / len(side) / (float(side.mean()) + floor) ** 2 for side in (near, far))
    return ratio, ratio * spread**0.5


def memorisation_scores(ratios: Sequence[float | None], errors: Sequence[float | None]) -> Scores:
    """Returns the scores of the ratios that clients sent; empty if none sent any.

    - ``memorisation``: by partition, the ratio (1 is none, lower is worse), or None where it is unknown;
      ``memorisation-error``: its standard error.
    - ``most-memorised`` and ``most-memorised-ratio``: the client with the lowest ratio.

    Args:
        ratios: See ``memorisation``, by partition; None where it is unknown.
        errors: Likewise.
    """
    known = [(ratio, partition) for partition, ratio in enumerate(ratios) if ratio is not None]
    if not known:
        return {}
    lowest, partition = min(known)
    return {
        "memorisation": ratios,
        "memorisation-error": errors,
        "most-memorised": partition,
        "most-memorised-ratio": lowest,
    }


def _repeated(scores: Mapping[str, Any], names: Names) -> list[str]:
    errors = dict(enumerate(scores.get("memorisation-error", ())))
    which, ratio = scores.get("most-memorised", -1), scores.get("most-memorised-ratio")
    if ratio is None or (error := errors.get(which)) is None:
        return []
    sign = "a sign that it repeats them" if ratio < 1 - far(len(errors)) * error else "no sign that it repeats them"
    return [
        f"The images that client {names.of_client(which)} trained on lie {ratio:.2f} ± {error:.2f} times as far from "
        f"generated ones as images that it held out: {sign}. No other client's ratio is lower; 1 is none, 0 repeats "
        "all."
    ]


MEMORISATION = Metric(
    "memorisation",
    (
        Score(
            "memorisation",
            "memorisation",
            "distance of training images to generated ones, over that of held-out ones",
            "higher",
            "figures",
            "client",
            heading="Memorisation of each client's images",
        ),
        Score(
            "memorisation-error",
            "memorisation, ±",
            "its standard error",
            form="figures",
            of="client",
            heading="Standard errors of memorisation",
        ),
        Score(
            "most-memorised",
            "most repeated client",
            "the client whose training images are repeated most",
            form="number",
            of="client",
            figure="most-memorised-ratio",
        ),
        Score(
            "most-memorised-ratio",
            "memorisation, worst client",
            "the least memorisation ratio of any client: 1 is none, 0 repeats all",
            "higher",
            benchmark="",
        ),
    ),
    needs=frozenset({"clients"}),
    weak_spots=_repeated,
)
