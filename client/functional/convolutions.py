"""Convolutions of many clients as products of matrices: a product a client, all of them in one call.

``vmap`` makes one convolution of a group a client, which cuDNN carries out far from a GPU's speed where groups are many
and small. Here the values under every position of the kernel are copied side by side (im2col; Chellapilla, Puri, Simard
2006), which a batched product takes from there. The same function, in another order of sums. Which is faster where is
measured by ``python -m simulations.performance --only convolutions``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

Pair = tuple[int, int]


def convolution(images: Tensor, weights: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """Returns each client's convolution (N, B, O, H', W').

    Args:
        images: (N, B, I, H, W).
        weights: (N, O, I, k, l).
        stride: In both directions.
        padding: With zeros, on both sides of each direction.
    """
    rows, columns = padding
    padded = F.pad(images, (columns, columns, rows, rows)) if rows or columns else images
    patches = padded.unfold(3, weights.shape[3], stride[0]).unfold(4, weights.shape[4], stride[1])
    _, batch, _, height, width, _, _ = patches.shape  # (N, B, I, H', W', k, l)
    side_by_side = patches.permute(0, 2, 5, 6, 1, 3, 4).flatten(4).flatten(1, 3)  # (N, I k l, B H' W')
    found = torch.bmm(weights.flatten(2), side_by_side)
    return found.view(*found.shape[:2], batch, height, width).transpose(1, 2)


def transposed_convolution(maps: Tensor, weights: Tensor, stride: Pair, padding: Pair, extra: Pair) -> Tensor:
    """Returns each client's transposed convolution (N, B, O, H', W').

    Args:
        maps: (N, B, I, H, W).
        weights: (N, I, O, k, l).
        stride: In both directions.
        padding: Of the convolution that it is the transpose of.
        extra: Rows and columns that are added at one side of the result.
    """
    num, batch, _, height, width = maps.shape
    outputs, *kernel = weights.shape[2:]
    rows, columns = (
        (length - 1) * step + side + more
        for length, step, side, more in zip((height, width), stride, kernel, extra, strict=True)
    )
    patches = torch.bmm(weights.flatten(2).transpose(1, 2), maps.transpose(1, 2).flatten(2))
    patches = patches.view(num, outputs, *kernel, batch, height, width).permute(0, 4, 1, 5, 6, 2, 3)
    back = torch.ops.aten.unfold_backward
    lines = back(patches, (num, batch, outputs, height, columns, kernel[0]), 4, kernel[1], stride[1])
    found: Tensor = back(lines, (num, batch, outputs, rows, columns), 3, kernel[0], stride[0])
    return found[..., padding[0] : rows - padding[0], padding[1] : columns - padding[1]]
