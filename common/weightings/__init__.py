"""How much each client counts in a mean: one weighting a file."""

from common.weightings.base import Weighting
from common.weightings.examples import Examples
from common.weightings.kl_skewed import KLSkewed
from common.weightings.kl_typical import KLTypical
from common.weightings.mmd import MMD
from common.weightings.uniform import Uniform

WEIGHTINGS: dict[str, type[Weighting]] = {
    "examples": Examples,
    "uniform": Uniform,
    "kl-typical": KLTypical,
    "kl-skewed": KLSkewed,
    "mmd": MMD,
}

__all__ = ["WEIGHTINGS", "Examples", "Uniform", "Weighting"]
