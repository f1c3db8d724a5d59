"""Copies of several clients' weights on the CPU, made in one go, in memory that is used again from round to round."""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.tree import split

_OWN = 3  # references to an array that nobody else holds: the list's, the loop's, and that of the call which counts


class WeightCopies:
    """Hands out copies, and writes over those that nobody holds any longer.

    New memory costs more than the copy: the system gives it page by page, and clears each of them. For a GPU it is
    pinned, where it is copied to without a detour.
    """

    def __init__(self) -> None:
        self._arrays: list[NDArray[np.float32]] = []

    def take(self, weights: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        """Returns each client's own copy of its float32 weights, in order of their names.

        Args:
            weights: Of all N clients, (N, ...) each; those of another type are left out.
        """
        packed = {key: value.detach() for key, value in sorted(weights.items()) if value.dtype == torch.float32}
        if not packed:
            return [{} for _ in next(iter(weights.values()))]
        rows = torch.cat([value.flatten(1) for value in packed.values()], 1) if _on_gpu(packed) else None
        num, size = len(next(iter(packed.values()))), sum(value[0].numel() for value in packed.values())
        array = self._free(num, size, is_pinned=rows is not None)[:num]
        if rows is not None:
            torch.from_numpy(array).copy_(rows)
        else:
            torch.cat([value.flatten(1) for value in packed.values()], 1, out=torch.from_numpy(array))
        like = {key: value[0] for key, value in packed.items()}
        # Tensors of their own, which do not count it as theirs if another client's copy is written to.
        return [split(torch.from_numpy(row), like) for row in array]

    def _free(self, num: int, size: int, *, is_pinned: bool) -> NDArray[Any]:
        """Returns an array of at least ``num`` rows that nobody else holds."""
        for array in self._arrays:
            if sys.getrefcount(array) == _OWN and array.shape[1] == size and len(array) >= num:
                return array
        self._arrays = [array for array in self._arrays if sys.getrefcount(array) > _OWN]
        self._arrays.append(torch.empty(num, size, pin_memory=is_pinned).numpy())
        return self._arrays[-1]


def _on_gpu(weights: Mapping[str, Tensor]) -> bool:
    return next(iter(weights.values())).is_cuda
