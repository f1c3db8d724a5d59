"""Weights that updates are made of: a convolution, a matrix, a vector and a count."""

import torch

from common.seeding import torch_generator


def weights(scope, size=1.0):
    """Returns weights that are drawn for a scope, as large as ``size``."""
    random = torch_generator(0, "weights", scope)
    return {
        "d.conv": size * torch.randn(4, 3, 2, 2, generator=random),
        "d.count": torch.tensor(7),
        "g.bias": size * torch.randn(5, generator=random),
        "g.weight": size * torch.randn(5, 6, generator=random),
    }
