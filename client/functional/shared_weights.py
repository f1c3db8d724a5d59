"""Products and convolutions of several examples with one weight that they share, whose gradients are noted by example.

The examples are those of one client, or of several, each of which has a weight of its own.

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

from client.functional import convolutions

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
    """Returns values (N, B, ..., I) times the weight of each client, (N, B, ..., O).

    Args:
        shared: See above.
        values: Of N clients, B examples of each.
        rows: (N, B, O, I), of which each client has the same for all of its examples.
    """
    found: Tensor = _Product.apply(values, rows, shared, False)
    return found


def convolution(shared: Shared, images: Tensor, rows: Tensor) -> Tensor:
    """Returns the convolution (N, B, b, O, H', W') of images (N, B, b, I, H, W); ``rows`` (N, B, O, I, k, l)."""
    found: Tensor = _Convolution.apply(images.flatten(1, 2), rows, shared)
    return found.view(*images.shape[:3], *found.shape[2:])


def transposed_convolution(shared: Shared, maps: Tensor, rows: Tensor) -> Tensor:
    """Returns the transposed convolution of maps (N, B, b, I, H, W); ``rows`` (N, B, I, O, k, l)."""
    found: Tensor = _TransposedConvolution.apply(maps.flatten(1, 2), rows, shared, shared.extra)
    return found.view(*maps.shape[:3], *found.shape[2:])


def products(values: Tensor, matrices: Tensor) -> Tensor:
    """Returns values (N, ..., I) times a matrix (I, O) of each of N clients."""
    if len(matrices) == 1:
        return (values[0] @ matrices[0]).unsqueeze(0)
    return torch.bmm(values.flatten(1, -2), matrices).view(*values.shape[:-1], matrices.shape[2])


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: Tensor, shared: Shared, is_backward: bool) -> Tensor:
        ctx.save_for_backward(values, rows)
        ctx.shared, ctx.is_backward = shared, is_backward
        weights = rows[:, 0]
        return products(values, weights if is_backward else weights.mT)

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
        if _are_products(images, rows):
            return convolutions.convolution(images, rows[:, 0], shared.stride, shared.padding)
        return _each(images, rows, lambda own, weight: F.conv2d(own, weight, None, shared.stride, shared.padding))

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
                images.shape[3:], gradient.shape[3:], shared.stride, shared.padding, rows.shape[4:], strict=True
            )
        )
        return _TransposedConvolution.apply(gradient, rows, shared, extra), None, None


class _TransposedConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, rows: Tensor, shared: Shared, extra: Pair) -> Tensor:
        ctx.save_for_backward(maps, rows)
        ctx.shared = shared
        if _are_products(maps, rows):
            return convolutions.transposed_convolution(maps, rows[:, 0], shared.stride, shared.padding, extra)
        return _each(
            maps,
            rows,
            lambda own, weight: F.conv_transpose2d(own, weight, None, shared.stride, shared.padding, extra),
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        maps, rows = ctx.saved_tensors
        _note(ctx.shared, gradient, maps, rows)
        back = _Convolution.apply(gradient, rows, ctx.shared) if ctx.needs_input_grad[0] else None
        return back, None, None, None


def _are_products(values: Tensor, rows: Tensor) -> bool:
    """Returns whether a convolution of several clients is carried out as products, as on a GPU without privacy."""
    return values.is_cuda and len(rows) > 1


def _each(values: Tensor, rows: Tensor, call: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Returns what ``call`` does of the values and the weight of each client: on a CPU as fast as one call for all."""
    if len(rows) == 1:
        return call(values[0], rows[0, 0]).unsqueeze(0)
    return torch.stack([call(own, weight) for own, weight in zip(values, rows[:, 0], strict=True)])


def _note(shared: Shared, images: Tensor, maps: Tensor, rows: Tensor) -> None:
    """Notes the patches that a convolution takes from images, and the maps (or their gradients) that it makes there."""
    patches = F.unfold(images.flatten(0, 1), rows.shape[4:], padding=shared.padding, stride=shared.stride)
    shared.note(patches.mT, maps.flatten(0, 1).flatten(2).mT)
