"""How much is kept of vectors that may not be longer than some length."""

import torch
from torch import Tensor


def clip_shares(squared_lengths: Tensor, clip: float) -> Tensor:
    """Returns what is kept of vectors (N,) with these squared lengths so that none is longer than ``clip``.

    Nothing of one that is not finite: it must not show in a sum.
    """
    shares = (clip / squared_lengths.clamp_min(0).sqrt()).clamp(max=1.0)  # of a length of zero: 1
    return torch.where(squared_lengths.isfinite(), shares, torch.zeros_like(shares))
