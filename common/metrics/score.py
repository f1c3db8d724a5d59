"""Inception Score, on the probabilities of any classifier."""

import torch
from torch import Tensor

from common.errors import DataError


def inception_score(probabilities: Tensor) -> float:
    """Returns exp(E KL(p(y|x) || p(y))) in [1, K]: high when images are clear and classes balanced.

    Salimans et al. 2016 (arXiv:1606.03498), section 4, over the whole set: the customary ten splits bias the value
    and add nothing. It does not see diversity within a class.

    Args:
        probabilities: p(y|x), (N, K), rows that sum to 1; all is computed in float64.

    Raises:
        DataError: No rows, or rows that are not probabilities.
    """
    if probabilities.ndim != 2 or len(probabilities) == 0:
        raise DataError(f"probabilities of shape {tuple(probabilities.shape)} are not (N, K) with N >= 1")
    conditional = probabilities.double()
    if not bool((conditional >= 0).all()) or not bool(((conditional.sum(1) - 1).abs() < 1e-3).all()):
        raise DataError("rows of probabilities must be non-negative and sum to 1; were logits given?")
    marginal = conditional.mean(0)
    divergence = torch.xlogy(conditional, conditional).sum(1) - torch.xlogy(conditional, marginal).sum(1)
    return float(divergence.mean().exp())
