"""Fréchet distance between two feature sets, each taken as a Gaussian ("FID" on any declared extractor)."""

import torch
from torch import Tensor

from common.errors import DataError, DivergenceError
from common.metrics.base import DISTANCES, Metric, Score, Scores
from common.metrics.comparison import Comparison
from common.metrics.moments import Moments


def frechet_distance(real: Moments, fake: Moments) -> float:
    """Returns |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), at least 0, in squared feature units; 0 is best.

    Heusel et al. 2017 (arXiv:1706.08500), eq. 6, from Dowson & Landau 1982. The trace of the square root is the sum
    of the singular values of S1^(1/2) S2^(1/2), which stays accurate where covariances are singular: taking roots of
    the eigenvalues of S1 S2 instead turns rounding errors of 1e-16 into errors of 1e-8, once per dead feature.

    The estimate is biased upwards by roughly 1/n: compare values of equal set sizes only, beside the distance of two
    real sets.

    Args:
        real: Moments of at least two real feature vectors.
        fake: Moments of at least two generated ones, of the same extractor.

    Raises:
        DataError: Fewer than two vectors, or different numbers of features.
        DivergenceError: Moments that are not finite.
    """
    if real.total.shape != fake.total.shape:
        raise DataError(f"features differ: {len(real.total)} of the real images, {len(fake.total)} of the generated")
    for name, moments in (("real", real), ("generated", fake)):
        if not bool(torch.isfinite(moments.outer).all()) or not bool(torch.isfinite(moments.total).all()):
            raise DivergenceError(f"the features of the {name} images are not finite")
    first, second = real.covariance, fake.covariance
    overlap = torch.linalg.svdvals(_root(first) @ _root(second)).sum()
    distance = (real.mean - fake.mean).square().sum() + first.trace() + second.trace() - 2 * overlap
    return max(float(distance), 0.0)


def _root(matrix: Tensor) -> Tensor:
    """Returns the square root of a symmetric positive semi-definite matrix; eigenvalues of mere rounding count as 0."""
    values, vectors = torch.linalg.eigh(matrix)
    noise = len(values) * torch.finfo(values.dtype).eps * values.abs().max()
    roots = torch.where(values > noise, values, 0).sqrt()
    root: Tensor = (vectors * roots) @ vectors.T
    return root


def _compute(compared: Comparison) -> Scores:
    _, fake = compared.features
    return {"fid": frechet_distance(compared.real.moments, Moments.of(fake))}


FID = Metric(
    "fid",
    (
        Score(
            "fid",
            "FID",
            "Fréchet distance of features, lower is better",
            "lower",
            chart=DISTANCES,
            decimals=2,
            selects_rounds=True,
            benchmark="panel",
        ),
    ),
    needs=frozenset({"features", "held-out"}),
    compute=_compute,
    few_images="fid is to {held_out} held-out images, no more than {extractor.name} has features "
    "({extractor.dimension}): much of it comes of their small number, so compare it within this run only, and go by "
    "kid",
    between_rounds=True,
)
