"""Updates as whole numbers modulo 2^64, whose sum over all clients cannot wrap."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.errors import FederationError
from common.secure_sum.masks import Numbers
from common.tree import Tree

_BITS = 62  # of the largest sum; one more is the sign's, and one is spare
_FEWEST_BITS = 20
_LARGEST = 2**_BITS


@dataclass(frozen=True)
class FixedPoint:
    """How updates are written as whole numbers, the same for all clients of a round.

    An update of a floating entry, which may be up to ``limit``, is rounded to the nearest multiple of 2^-``bits`` and
    then counted ``weight`` times, so no rounding depends on a weight. What is not floating is counted as it is.

    Attributes:
        limit: The largest update of a floating entry; > 0.
        total: The sum of all weights, at most; 1 or more.
    """

    limit: float
    total: int

    @property
    def bits(self) -> int:
        """Binary digits behind the point: as many as leave the sum of all clients below 2^62.

        Raises:
            FederationError: They are too few.
        """
        found = _BITS - math.ceil(math.log2(self.limit) + math.log2(self.total))
        if found < _FEWEST_BITS:
            raise FederationError(
                f"aggregate='secure-mean': range={self.limit:g} with {self.total:,} examples leaves {found} binary "
                f"digits, and {_FEWEST_BITS} are the fewest: take a smaller range, or weighting='uniform'"
            )
        return found

    def encode(self, arrays: Tree, origin: Tree, weight: int) -> Numbers:
        """Returns a client's update, counted ``weight`` times, as one vector in order of the entries' names.

        Args:
            arrays: A client's, finite.
            origin: What they are updates of; an entry that it does not have is taken as it is.
            weight: Whole, >= 1.

        Raises:
            FederationError: An update is larger than can be added up; names the entry.
        """
        parts = [self._encode(key, arrays[key], origin.get(key)) for key in sorted(arrays)]
        whole = torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)
        return whole.mul_(weight).numpy().view(np.uint64)

    def decode(self, total: Numbers, weight: int, like: Tree, origin: Tree) -> dict[str, Tensor]:
        """Returns the weighted mean that a sum of such vectors says, computed in float64.

        Of an integer entry on which clients agree that is what they say; else their mean, rounded up.

        Args:
            total: The sum modulo 2^64.
            weight: The sum of the weights in it, at most ``total`` of them.
            like: A tree with the keys, shapes and dtypes of the clients'.
            origin: See ``encode``.
        """
        whole = torch.from_numpy(total.view(np.int64))
        keys = sorted(like)
        parts = torch.split(whole, [like[key].numel() for key in keys])
        step = 2.0**-self.bits
        found = {}
        for key, part in zip(keys, parts, strict=True):
            value, start = like[key], origin.get(key)
            if value.is_floating_point():
                mean = part.double().div_(weight).mul_(step).view(value.shape)
                start = torch.zeros(()) if start is None else start
                found[key] = mean.add_(start.double()).to(value.dtype)
            else:
                mean = -torch.div(-part, weight, rounding_mode="floor").view(value.shape)
                found[key] = (mean if start is None else mean + start.long()).to(value.dtype)
        return {key: found[key] for key in like}

    def _encode(self, key: str, value: Tensor, start: Tensor | None) -> Tensor:
        if not value.is_floating_point():
            update = value.long() if start is None else value.long() - start.long()
            limit: float = _LARGEST // self.total
        else:
            update = value.double() if start is None else value.double() - start.double()
            limit = self.limit
        if update.numel() and float(update.abs().max()) > limit:  # by how much is not said: the server would read it
            raise FederationError(
                f"{key} has changed by more than {limit:.3g}, the most that aggregate='secure-mean' adds up (range): "
                "take a larger range, or a lower learning rate"
            )
        if value.is_floating_point():
            update = (update * 2.0**self.bits).round_().long()
        return update.reshape(-1)
