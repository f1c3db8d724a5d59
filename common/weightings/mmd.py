"""A client counts the more the worse its generator still imitates its own images."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from common.errors import DataError
from common.exchange import Client, LocalTrainer, Reply
from common.weightings.base import Weighting, softmax

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Widths of the kernels in median squared distances: one that is too narrow or too wide for the images sees nothing."""

_METRIC = "mmd"
_LARGEST = 2.0  # of kernels in [0, 1]


class MMD(Weighting):
    """w_k = softmax over the round's clients of MMD^2_k / temperature, between a client's real and generated images.

    The generator is the client's own after its training. It counts more the less it has converged; equal MMD, or a high
    temperature, give ``uniform``. What a client says of itself is its own word: an MMD below 0 (the estimate is
    unbiased), not finite or not said at all counts as 0, and one above 2 as 2, more than which no honest client can
    find; so a liar counts at most exp(2 / temperature) times as much as another.

    Deviations from the paper: unbiased estimates on ``num`` images of each kind, in pixels; and the mean of five
    kernels around the median heuristic, where the paper leaves the width open.
    """

    source: ClassVar[str] = "IFL-GAN, Li et al., TNNLS 2022; MMD: Gretton et al. 2012 (JMLR 13), lemma 6 and section 8"

    measures_examples: ClassVar[bool] = True

    num: int = Field(256, ge=2, le=4096, description="real images, and as many generated ones, that are compared")
    temperature: float = Field(1.0, gt=0, description="divides the MMD; low ones leave the worst client alone to count")

    def measure(self, trainer: LocalTrainer) -> dict[str, float]:
        real, _ = trainer.real(self.num, _METRIC)
        fake, _ = trainer.fake(self.num, _METRIC)
        return {_METRIC: gaussian_mmd(real, fake)}

    def weigh(self, replies: Sequence[Reply], clients: Mapping[int, Client]) -> list[float]:
        said = [reply.metrics.get(_METRIC, 0.0) for reply in replies]
        believed = [min(max(value, 0.0), _LARGEST) if math.isfinite(value) else 0.0 for value in said]
        return softmax([value / self.temperature for value in believed])


def gaussian_mmd(real: Tensor, fake: Tensor) -> float:
    """Returns the unbiased estimate of MMD^2 under the mean of Gaussian kernels, computed in float64.

    k(x, y) = mean_b exp(-|x - y|^2 / (2 b m)), with m the median squared distance of different rows of both sets
    together and b in ``BANDWIDTHS``. It is at most 2, and around 0 for two sets of one distribution, at times below.

    Args:
        real: (N, ...), N at least 2; all axes but the first are flattened.
        fake: (M, ...), M at least 2.

    Raises:
        DataError: Fewer than two rows, or rows of different lengths.
    """
    if min(len(real), len(fake)) < 2 or real[0].numel() != fake[0].numel():
        raise DataError(
            f"an MMD needs (N, ...) and (M, ...) with N, M >= 2, not {tuple(real.shape)} and {tuple(fake.shape)}"
        )
    n, m = len(real), len(fake)
    both = torch.cat([real.reshape(n, -1), fake.reshape(m, -1)]).double()
    squares = both.square().sum(1)
    distances = (squares[:, None] + squares[None, :] - 2.0 * both @ both.T).clamp_min_(0.0)
    rows, columns = torch.triu_indices(n + m, n + m, offset=1, device=both.device)
    median = float(distances[rows, columns].median()) or 1.0  # 0: equal images, whatever the width
    kernel = torch.stack([torch.exp(-distances / (2.0 * factor * median)) for factor in BANDWIDTHS]).mean(0)
    kernel.fill_diagonal_(0.0)
    within = kernel[:n, :n].sum() / (n * (n - 1)) + kernel[n:, n:].sum() / (m * (m - 1))
    return float(within - 2.0 * kernel[:n, n:].mean())
