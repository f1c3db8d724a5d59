"""Normal distributions from noisy sums of outer products."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Gaussians(NamedTuple):
    """Normal distributions of the parts of classes, float32; see ``class_gaussians.GaussianSampler``."""

    shares: Tensor
    means: Tensor
    factors: Tensor


class PartMoments(NamedTuple):
    """Sums over the examples of each part of z z^T, where z is a constant and then the description.

    Attributes:
        sums: (K P, 1 + D, 1 + D), float64, symmetric; the parts of a class after one another.
        one: The constant.
        noise: Standard deviation of the noise on the diagonal, >= 0; elsewhere it is less by the square root of 2.
    """

    sums: Tensor
    one: float
    noise: float


_STANDS_OUT = 4.0
"""Times the noise of a count: what is less may be the count of nothing."""


def gaussians_of(moments: PartMoments, num_classes: int, rank: int) -> Gaussians:
    """Returns the distributions of parts (P of each of K classes), in ``rank`` directions (R) at most.

    Noise hides most of a small part, and little of all together. So a part's mean is drawn to that of its class, and a
    class's to that of all, by as much as noise alone would set them apart; and a part's covariance is that within all
    parts, and what of its difference to this stands out of the noise. Without noise they are those of the part.
    """
    sums, one, noise = moments
    parts = len(sums) // num_classes
    counts = torch.stack([_count(each, one, noise) for each in sums]).view(num_classes, parts)
    totals = counts.sum(1)
    of_all, of_classes = sums.sum(0), sums.view(num_classes, parts, *sums.shape[1:]).sum(1)
    mean_of_all = _mean(of_all, one, noise * math.sqrt(len(sums)))
    means = []
    for total, of_class, own_counts, own in zip(totals, of_classes, counts, torch.split(sums, parts), strict=True):
        wide = noise * math.sqrt(parts)
        centre = _mean_near(mean_of_all, of_class, total, one, wide)
        means += [_mean_near(centre, each, count, one, noise) for each, count in zip(own, own_counts, strict=True)]
    flat = counts.flatten()
    spreads = [each[1:, 1:] - count * torch.outer(m, m) for each, count, m in zip(sums, flat, means, strict=True)]
    seen = [spread for spread, count in zip(spreads, flat, strict=True) if count]
    within = torch.zeros_like(spreads[0])
    if seen:
        within = standing_out(
            torch.stack(seen).sum(0) / flat.sum(), _noise_of_entries(noise * len(seen) ** 0.5, flat.sum())
        )
    factors = []
    for spread, count in zip(spreads, flat, strict=True):
        factors.append(_factor(_covariance(spread, count, within, noise), rank))
    shares = counts / totals[:, None].clamp_min(1)
    shares = torch.where(totals[:, None] > 0, shares, 1 / parts)
    return Gaussians(shares.float(), torch.stack(means).float(), torch.stack(factors).float())


def _covariance(spread: Tensor, count: Tensor, within: Tensor, noise: float) -> Tensor:
    """Returns the covariance of a part with so much ``spread`` about its mean; ``within`` is that of all parts.

    Its own, as far as it stands out of the noise, if that is most of what there is to see; else the difference to the
    other one. What all parts share is less sharp than what is a part's own.
    """
    if not count:
        return within
    of_entries = _noise_of_entries(noise, count)
    own = standing_out(spread / count, of_entries)
    if float(own.trace()) >= _MOST * float(within.trace()):
        return own
    return within + standing_out(spread / count - within, of_entries)


_MOST = 0.5
"""Share of the variance within parts."""


def _count(sums: Tensor, one: float, noise: float) -> Tensor:
    """Returns how many examples a part has, 0 where they do not stand out of the noise."""
    return torch.where(sums[0, 0] > _STANDS_OUT * noise, sums[0, 0] / one**2, 0)


def _noise_of_entries(noise: float, count: Tensor) -> float:
    """Returns the noise of sums off the diagonal, an example."""
    return noise / math.sqrt(2) / max(float(count), 1.0)


def _mean_near(centre: Tensor, sums: Tensor, count: Tensor, one: float, noise: float) -> Tensor:
    """Returns the mean of so many examples with these sums, drawn to ``centre``; that itself where there are none."""
    return drawn(_mean(sums, one, noise), centre, _noise_of_entries(noise, count)) if count else centre


def _mean(sums: Tensor, one: float, noise: float) -> Tensor:
    """Returns the mean of what is described, (D,).

    The first row of the sums has it, with all its noise: more than in what stands out of the noise of the whole matrix.
    """
    clear = standing_out(sums, noise / math.sqrt(2))
    return clear[0, 1:] * one / clear[0, 0] if clear[0, 0] > 0 else torch.zeros_like(sums[0, 1:])


def drawn(mean: Tensor, centre: Tensor, noise: float) -> Tensor:
    """Returns a mean (D,) with noise in each number, drawn to ``centre``: by all of the way where that may be noise.

    The positive part of James and Stein's estimator (Efron, Morris 1973 (JASA 68.341)).
    """
    apart = mean - centre
    return centre + apart * (1 - len(mean) * noise**2 / apart.square().sum().clamp_min(1e-300)).clamp_min(0)


def standing_out(matrix: Tensor, noise: float) -> Tensor:
    """Returns of a symmetric matrix (D, D) with symmetric noise what stands out of it; see ``spikes``.

    Args:
        matrix: Eigenvalues may be of either sign.
        noise: Standard deviation off the diagonal, >= 0.
    """
    values, vectors = torch.linalg.eigh(matrix)
    clear: Tensor = (vectors * values.sign() * spikes(values.abs(), noise, len(matrix))) @ vectors.T
    return clear


def _factor(covariance: Tensor, rank: int) -> Tensor:
    """Returns the factor (D, R) of the nearest covariance of so high a rank."""
    values, vectors = torch.linalg.eigh(covariance)
    rank = min(rank, len(values))
    factor: Tensor = vectors[:, -rank:] * values[-rank:].clamp_min(0).sqrt()
    return factor


def spikes(values: Tensor, noise: float, size: int) -> Tensor:
    """Returns what eigenvalues of a covariance were before noise, 0 for those that may be noise alone.

    Symmetric noise of standard deviation ``noise`` off the diagonal has eigenvalues up to 2 t, with t = ``noise``
    sqrt(size), and makes l + t^2 / l of an eigenvalue l > t (Benaych-Georges, Nadakuditi 2011 (Adv. Math. 227.1), 3.1).

    Args:
        values: Eigenvalues (N,) of the noisy covariance.
        noise: Standard deviation of its entries off the diagonal, >= 0.
        size: Of the matrix.
    """
    edge = noise * math.sqrt(size)
    root = (values.square() - 4 * edge**2).clamp_min(0).sqrt()
    return torch.where(values > 2 * edge, (values + root) / 2, 0).clamp_min(0)
