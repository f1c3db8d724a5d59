"""Copies of several clients' weights on the CPU, made in one go, in memory that is used again from round to round."""

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.tree import split


@dataclass
class _Memory:
    """Rows of weights, and those that were handed out, for as long as anybody holds them."""

    rows: NDArray[np.float32]
    given: list[weakref.ref[Any]] = field(default_factory=list)

    @property
    def is_free(self) -> bool:
        return all(row() is None for row in self.given)


class WeightCopies:
    """Hands out copies, and writes over those that nobody holds any longer.

    New memory costs more than the copy: the system gives it page by page, and clears each of them. For a GPU it is
    pinned, where it is copied to without a detour.
    """

    def __init__(self) -> None:
        self._all: list[_Memory] = []

    def take(self, weights: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        """Returns each client's own copy of its float32 weights, in order of their names.

        Args:
            weights: Of all N clients, (N, ...) each; those of another type are left out.
        """
        packed = {key: value.detach() for key, value in sorted(weights.items()) if value.dtype == torch.float32}
        if not packed:
            return [{} for _ in next(iter(weights.values()))]
        like = {key: value[0] for key, value in packed.items()}
        flat = [value.flatten(1) for value in packed.values()]
        num, size, on_gpu = len(flat[0]), sum(value.numel() for value in like.values()), flat[0].is_cuda
        memory = self._free(num, size, is_pinned=on_gpu)
        together = torch.from_numpy(memory.rows[:num])
        if on_gpu:
            together.copy_(torch.cat(flat, 1))
        else:
            torch.cat(flat, 1, out=together)
        rows = list(memory.rows[:num])
        memory.given = [weakref.ref(row) for row in rows]  # a tensor of its memory holds on to a row
        # Tensors of their own, which do not count it as theirs if another client's copy is written to.
        return [split(torch.from_numpy(row), like) for row in rows]

    def _free(self, num: int, size: int, *, is_pinned: bool) -> _Memory:
        """Returns memory of at least ``num`` rows of which nobody holds any."""
        for memory in self._all:
            if memory.is_free and memory.rows.shape[1] == size and len(memory.rows) >= num:
                return memory
        self._all = [memory for memory in self._all if not memory.is_free]
        self._all.append(_Memory(torch.empty(num, size, pin_memory=is_pinned).numpy()))
        return self._all[-1]
