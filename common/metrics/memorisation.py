"""Whether a generator repeats the images it was trained on: they lie nearer to its images than held-out ones do.

The distances are those from real images to the nearest generated one, as in Chen et al. 2020 (arXiv:1909.03935,
GAN-Leaks, the attack on published samples alone), and not from generated images to the nearest real one: one set of
generated images serves both sides, so that the training images need not be thinned out to as few as were held out,
which would hide most of what is repeated.
"""

import torch
from torch import Tensor

from common.errors import DataError
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
