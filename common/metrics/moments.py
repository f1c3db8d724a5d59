"""First and second moments of feature sets, kept as sums so that those of many clients simply add up."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.errors import DataError

_CHUNK = 4096  # rows held in float64 at once


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over a set of feature vectors: all that a Fréchet distance needs, and no single image can be read from it.

    The moments of a union are the sum of the moments of its parts, so a federated FID equals the pooled one up to
    rounding. Sums are float64: forming a covariance subtracts two large numbers.

    Attributes:
        count: How many vectors, n.
        total: Sum of x, float64 (D,).
        outer: Sum of x x^T, float64 (D, D).
    """

    count: int
    total: Tensor
    outer: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "Moments":
        """Returns the moments of features (N, D), on their device.

        Raises:
            DataError: The features are not one row a vector.
        """
        if features.ndim != 2:
            raise DataError(f"features of shape {tuple(features.shape)} are not (N, D)")
        dimension = features.shape[1]
        total = torch.zeros(dimension, dtype=torch.float64, device=features.device)
        outer = torch.zeros(dimension, dimension, dtype=torch.float64, device=features.device)
        for rows in torch.split(features.detach(), _CHUNK):
            chunk = rows.double()
            total += chunk.sum(0)
            outer += chunk.T @ chunk
        return cls(len(features), total, outer)

    def __add__(self, other: "Moments") -> "Moments":
        """Returns the moments of the union of both sets.

        Raises:
            DataError: The sets have different numbers of features.
        """
        if self.total.shape != other.total.shape:
            raise DataError(f"moments of {len(self.total)} and of {len(other.total)} features cannot be added")
        return Moments(self.count + other.count, self.total + other.total, self.outer + other.outer)

    @property
    def mean(self) -> Tensor:
        """The mean, float64 (D,).

        Raises:
            DataError: The set is empty.
        """
        if self.count < 1:
            raise DataError("an empty set of features has no mean")
        return self.total / self.count

    @property
    def covariance(self) -> Tensor:
        """The unbiased covariance (divided by n - 1), float64 (D, D), symmetric.

        Raises:
            DataError: The set has fewer than two vectors.
        """
        if self.count < 2:
            raise DataError(f"a covariance needs at least 2 feature vectors, not {self.count}")
        centred = self.outer - torch.outer(self.mean, self.total)
        return (centred + centred.T) / (2 * (self.count - 1))


def mixed(parts: Sequence[Moments], weights: Sequence[float]) -> Moments:
    """Returns the moments of a set in which part i has the share w_i / sum(w): a mixture of other proportions.

    Weights that are proportional to the parts' counts give the union.

    Args:
        parts: One or more sets.
        weights: One number >= 0 a part, not all zero; a part of weight 0 may be empty.

    Returns:
        Moments whose count is that of all parts with a weight together.

    Raises:
        DataError: An empty part with a weight, parts of different numbers of features, or weights that do not fit.
    """
    if len(parts) != len(weights) or min(weights, default=-1) < 0 or not sum(weights):
        raise DataError(f"{len(parts)} sets cannot be mixed by the weights {list(weights)}")
    pairs = [(part, weight / sum(weights)) for part, weight in zip(parts, weights, strict=True) if weight]
    if any(part.count < 1 for part, _ in pairs):
        raise DataError("a set without vectors cannot be mixed with others")
    if len({part.total.shape for part, _ in pairs}) > 1:
        raise DataError(f"moments of {sorted({len(part.total) for part, _ in pairs})} features cannot be mixed")
    count = sum(part.count for part, _ in pairs)
    factors = [count * share / part.count for part, share in pairs]
    total = torch.stack([factor * part.total for (part, _), factor in zip(pairs, factors, strict=True)]).sum(0)
    outer = torch.zeros_like(pairs[0][0].outer)
    for (part, _), factor in zip(pairs, factors, strict=True):
        outer.add_(part.outer, alpha=factor)
    return Moments(count, total, outer)
