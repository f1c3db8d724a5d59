"""Whether generated examples lie nearer to what was trained on than held-out ones do: a test of copies.

Beside it stands the ratio of ``common/metrics/memorisation.py``, which measures from real examples to generated ones.
"""

import math

import torch
from torch import Tensor

from common.audit.membership import auc
from common.errors import DataError
from common.metrics.prdc import nearest_distances


def copying(
    trained: Tensor,
    held_out: Tensor,
    fake: Tensor,
    held_out_cells: Tensor | None = None,
    fake_cells: Tensor | None = None,
) -> float:
    """Returns C_T, a z-score: far below 0, generated examples are nearer to the training set than held-out ones.

    Standard normal for a generator that draws from the distribution of the data; below -3 it copies; far above 0 it
    underfits, and then nothing is said of copies. It is the statistic of Mann and Whitney on the distances to the
    nearest training example, in each cell of the space, here the classes. The paper takes the mean over the cells of
    their z-scores; here statistics and variances are summed (van Elteren), so that the result is a z-score itself.

    Source: Meehan, Chaudhuri, Dasgupta 2020 (arXiv:2004.05675), eq. 1 and section 3.

    Args:
        trained: Features (N, D), N >= 1, of the training set.
        held_out: Features (M, D) of the same distribution.
        fake: Features (K, D) of generated examples.
        held_out_cells: Which cell each is in, int64 (M,); None: all are in one.
        fake_cells: Likewise, (K,). Cells without examples on both sides are left out.

    Raises:
        DataError: No cell has examples on both sides, or there is no training set.
    """
    if not len(trained):
        raise DataError("there are no training examples to look for copies of")
    far, near = nearest_distances(held_out, trained), nearest_distances(fake, trained)
    held_out_cells = torch.zeros(len(far), dtype=torch.int64) if held_out_cells is None else held_out_cells
    fake_cells = torch.zeros(len(near), dtype=torch.int64) if fake_cells is None else fake_cells
    excess = variance = 0.0
    for cell in sorted(set(held_out_cells.tolist())):
        real, made = far[(held_out_cells == cell).to(far.device)], near[(fake_cells == cell).to(near.device)]
        if len(real) and len(made):
            pairs = len(real) * len(made)
            excess += pairs * (auc(made, real)[0] - 0.5)
            variance += _variance(torch.cat([real, made]), pairs)
    if not variance:
        raise DataError("no class has generated and held-out examples at different distances")
    return excess / math.sqrt(variance)


def _variance(values: Tensor, pairs: int) -> float:
    """Returns the variance of Mann and Whitney's statistic, with its correction for equal values."""
    total = len(values)
    counts = torch.unique(values, return_counts=True)[1].double()
    ties = float((counts * (counts.square() - 1)).sum()) / (total * (total - 1))
    return pairs / 12 * (total + 1 - ties)
