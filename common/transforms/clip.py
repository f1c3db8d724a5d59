"""Updates of bounded length."""

import math
from typing import ClassVar

from pydantic import Field

from common.transforms.base import KEPT_NOTHING, Transform, updated
from common.tree import Tree, distance


class Clip(Transform):
    """A client's update w' - w that is longer than ``norm``, over all weights together, is scaled down to that length.

    The client does it, so the server takes a client's word for it. A transform after it may lengthen an update again:
    ``compress`` does, by what rounding left of this update and the last.
    """

    source: ClassVar[str] = "McMahan et al. 2018 (arXiv 1710.06963), flat clipping"
    of_weights: ClassVar[bool] = True

    norm: float = Field(1.0, gt=0, description="longest update, over all weights together")

    @property
    def longest(self) -> float:
        return self.norm

    def encode(self, arrays: Tree, received: Tree, kept: Tree) -> tuple[Tree, Tree]:
        updates = updated(arrays, received)
        length = distance(updates, received)
        if not math.isfinite(length) or length <= self.norm:
            return arrays, KEPT_NOTHING
        share = self.norm / length
        clipped = {key: received[key] + share * (value - received[key]) for key, value in updates.items()}
        return {**arrays, **clipped}, KEPT_NOTHING
