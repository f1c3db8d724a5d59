"""Sums of outer products of vectors, as rows of their upper triangles, whose lengths are those of the matrices."""

import math

import torch
from torch import Tensor


def packed(matrices: Tensor) -> Tensor:
    """Returns symmetric matrices (..., D, D) as rows (..., D (D + 1) / 2) of the same Euclidean length.

    What is off the diagonal is there once, times the square root of 2. So the row of z z^T is as long as |z|^2.
    """
    rows, columns = _triangle(matrices.shape[-1])
    return matrices[..., rows, columns] * _lengths(rows, columns).to(matrices)


def unpacked(rows: Tensor, size: int) -> Tensor:
    """Returns the matrices (..., ``size``, ``size``) whose rows (..., D (D + 1) / 2) ``packed`` gives."""
    first, second = _triangle(size)
    values = rows / _lengths(first, second).to(rows)
    matrices = rows.new_zeros(*rows.shape[:-1], size, size)
    matrices[..., first, second] = values
    matrices[..., second, first] = values
    return matrices


def packed_size(size: int) -> int:
    """Returns the length of a row of a matrix with so many rows."""
    return size * (size + 1) // 2


def _triangle(size: int) -> tuple[Tensor, Tensor]:
    rows, columns = torch.triu_indices(size, size)
    return rows, columns


def _lengths(rows: Tensor, columns: Tensor) -> Tensor:
    return torch.where(rows == columns, 1.0, math.sqrt(2)).double()
