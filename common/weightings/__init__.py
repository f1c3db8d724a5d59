"""How much each client counts in a mean: one weighting a file."""

from common.weightings.base import Weighting
from common.weightings.images import Images
from common.weightings.kl_skewed import KLSkewed
from common.weightings.kl_typical import KLTypical
from common.weightings.mmd import MMD
from common.weightings.uniform import Uniform

WEIGHTINGS: dict[str, type[Weighting]] = {
    "images": Images,
    "uniform": Uniform,
    "kl-typical": KLTypical,
    "kl-skewed": KLSkewed,
    "mmd": MMD,
}

__all__ = ["WEIGHTINGS", "Images", "Uniform", "Weighting"]
