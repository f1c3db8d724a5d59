"""Products and convolutions of several examples with one weight that they share, whose gradients are noted by example.

The gradient of a weight is the sum, over the positions where it was used, of products of what came in and the gradient
of what came out: both are handed to ``Shared.note`` instead of being summed over examples. A backward pass may be
differentiated again, as gradient penalties do: what it computes are such functions too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Pair = tuple[int, int]


@dataclass(frozen=True)
class Shared:
    """How a weight is used.

    Attributes:
        note: Takes what came in, (..., I), and the gradient of what came out, (..., O), in the order of examples.
        stride: Of a convolution.
        padding: Of a convolution.
        extra: Rows and columns that a transposed one adds at one side.
    """

    note: Callable[[Tensor, Tensor], None]
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    extra: Pair = (0, 0)


def product(shared: Shared, values: Tensor, rows: Tensor) -> Tensor:
    """Returns values (B, ..., I) times a weight, (B, ..., O); ``rows`` (B, O, I) has the same one for each example."""
    found: Tensor = _Product.apply(values, rows, shared, False)
    return found


def convolution(shared: Shared, images: Tensor, rows: Tensor) -> Tensor:
    """Returns the convolution (B, b, O, H', W') of images (B, b, I, H, W) with a weight; ``rows`` (B, O, I, k, l)."""
    found: Tensor = _Convolution.apply(images.flatten(0, 1), rows, shared)
    return found.view(*images.shape[:2], *found.shape[1:])


def transposed_convolution(shared: Shared, maps: Tensor, rows: Tensor) -> Tensor:
    """Returns the transposed convolution of maps (B, b, I, H, W) with a weight; ``rows`` (B, I, O, k, l)."""
    found: Tensor = _TransposedConvolution.apply(maps.flatten(0, 1), rows, shared, shared.extra)
    return found.view(*maps.shape[:2], *found.shape[1:])


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: Tensor, shared: Shared, is_backward: bool) -> Tensor:
        ctx.save_for_backward(values, rows)
        ctx.shared, ctx.is_backward = shared, is_backward
        return values @ (rows[0] if is_backward else rows[0].T)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        values, rows = ctx.saved_tensors
        ctx.shared.note(*((gradient, values) if ctx.is_backward else (values, gradient)))
        back = _Product.apply(gradient, rows, ctx.shared, not ctx.is_backward) if ctx.needs_input_grad[0] else None
        return back, None, None, None


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, rows: Tensor, shared: Shared) -> Tensor:
        ctx.save_for_backward(images, rows)
        ctx.shared = shared
        return F.conv2d(images, rows[0], None, shared.stride, shared.padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        images, rows = ctx.saved_tensors
        shared = ctx.shared
        _note(shared, images, gradient, rows)
        if not ctx.needs_input_grad[0]:
            return None, None, None
        extra = tuple(
            whole - ((length - 1) * step - 2 * pad + side)
            for whole, length, step, pad, side in zip(
                images.shape[2:], gradient.shape[2:], shared.stride, shared.padding, rows.shape[3:], strict=True
            )
        )
        return _TransposedConvolution.apply(gradient, rows, shared, extra), None, None


class _TransposedConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, rows: Tensor, shared: Shared, extra: Pair) -> Tensor:
        ctx.save_for_backward(maps, rows)
        ctx.shared = shared
        return F.conv_transpose2d(maps, rows[0], None, shared.stride, shared.padding, extra)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        maps, rows = ctx.saved_tensors
        _note(ctx.shared, gradient, maps, rows)
        back = _Convolution.apply(gradient, rows, ctx.shared) if ctx.needs_input_grad[0] else None
        return back, None, None, None


def _note(shared: Shared, images: Tensor, maps: Tensor, rows: Tensor) -> None:
    """Notes the patches that a convolution takes from images, and the maps (or their gradients) that it makes there."""
    patches = F.unfold(images, rows.shape[3:], padding=shared.padding, stride=shared.stride)
    shared.note(patches.mT, maps.flatten(2).mT)
