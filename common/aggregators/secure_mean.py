"""The mean, of which the server learns the sum alone and no client's update."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field, field_validator
from torch import Tensor

from common.aggregators.base import Aggregator
from common.tree import Tree, weighted_mean

_FEWEST = 3


class SecureMean(Aggregator):
    """The mean over all clients of updates that they send in fixed point and masked, so that their sum alone shows.

    It is ``mean class-rows=all``, as nobody sees whose rows have moved.

    The protocol is in ``common/secure_sum``. Updates are rounded to the nearest multiple of 2^-b, with b as large as
    leaves the sum of all clients below 2^62: 38 binary digits with the default ``range`` and 60,000 examples. When
    the masks are off, every reply that reaches this class is the mean already. Nothing can look at a single update:
    no robust aggregate, no limit to its norm (``admission.max-norm-ratio`` is off), no drift in the journal.

    Deviations: of the variant for an honest-but-curious server, with the keys signed as in that for an active one,
    and without its fourth step; shares have digests, so that who hands out others than it was given is named. Of
    an integer entry on which clients do not agree the mean is taken, rounded up.
    """

    source: ClassVar[str] = "Bonawitz et al. 2017 (eprint 2017/281), figure 4"

    one_vote_each: ClassVar[bool] = False
    sums_alone: ClassVar[bool] = True

    threshold: int = Field(
        0,
        ge=0,
        description="fewest clients in a sum, and that undo masks together; 0: more than two thirds of a round's",
    )
    range: float = Field(256.0, gt=0, le=2**40, description="largest change of a weight or a buffer in a round")

    @property
    def largest_change(self) -> float:
        return self.range

    @field_validator("threshold")
    @classmethod
    def _hides_a_client_from_another(cls, threshold: int) -> int:
        if 0 < threshold < _FEWEST:
            raise ValueError("each of two clients would know the other's update from the mean: 3 is the least, or 0")
        return threshold

    def min_replies(self) -> int:
        return self.threshold or _FEWEST

    def needed(self, cohort: int) -> int:
        return self.threshold or max(_FEWEST, 2 * cohort // 3 + 1)

    def merge(self, trees: Sequence[Tree], weights: Sequence[float], origin: Tree) -> dict[str, Tensor]:
        return weighted_mean(trees, weights)

    def advice(self, replies: int) -> str:
        return f"threshold <= {replies}" if replies >= 3 else ""
