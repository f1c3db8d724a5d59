"""How much each client counts in a mean: one weighting a file."""

from common.weightings.base import Weighting
from common.weightings.images import Images
from common.weightings.uniform import Uniform

WEIGHTINGS: dict[str, type[Weighting]] = {"images": Images, "uniform": Uniform}

__all__ = ["WEIGHTINGS", "Images", "Uniform", "Weighting"]
