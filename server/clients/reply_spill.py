"""Where replies wait that memory is not to hold: on disk, mapped, so that whoever reads them sees tensors."""

import logging
import os
import tempfile
import threading
from pathlib import Path

import torch
from torch import Tensor

from common.tree import FrozenTree, flat_vector, split

log = logging.getLogger("fedgan.server")

_MEGABYTE = 10**6
_FEW_BYTES = 2**12  # of counts beside weights, which stay in memory


class ReplySpill:
    """Keeps a round's trees in memory up to a limit, and those that come after it in files.

    An aggregator needs all replies at hand, robust ones and admission several times over; pages of a mapped file are
    read when they are looked at, and the system drops them when it wants their memory. No bit depends on where a tree
    lies. The files have no name, so they are gone with the process, whatever ends it.

    Args:
        folder: Where files are made; there when the first is.
        megabytes: The limit; 0: none.
    """

    def __init__(self, folder: Path, megabytes: float) -> None:
        self._folder = folder
        self._limit = megabytes * _MEGABYTE
        self._held = 0
        self._lock = threading.Lock()
        self._has_no_room = False

    def clear(self) -> None:
        """Says that a round begins, and those of the one before are no longer held."""
        with self._lock:
            self._held = 0

    def put(self, tree: FrozenTree) -> FrozenTree:
        """Returns ``tree``, or if memory is full what ``store`` does; from any thread."""
        return self.store(tree) if self.is_full(sum(value.nbytes for value in tree.values())) else tree

    def is_full(self, num_bytes: int) -> bool:
        """Counts another tree of so many bytes, and returns whether it is beyond the limit."""
        with self._lock:
            self._held += num_bytes
            return 0 < self._limit < self._held

    def store(self, tree: FrozenTree) -> FrozenTree:
        """Returns a tree of the same entries, on disk; ``tree`` if it has no room there.

        Those of float32 are one file. Those of int64, as updates under masks are, have one each.
        """
        packed = {key: value for key, value in sorted(tree.items()) if value.dtype == torch.float32 and value.numel()}
        whole = {key: value for key, value in tree.items() if value.dtype == torch.int64 and value.nbytes > _FEW_BYTES}
        if not packed and not whole:
            return tree
        try:
            entries = {key: self._mapped(value.flatten()).view_as(value) for key, value in whole.items()}
            if packed:
                entries |= split(self._mapped(flat_vector(packed)), packed)
        except (OSError, RuntimeError) as error:  # torch raises the latter where a file cannot be mapped
            if not self._has_no_room:
                log.warning("replies stay in memory, as %s cannot take them: %s", self._folder, error)
            self._has_no_room = True
            return tree
        return FrozenTree({key: entries.get(key, value) for key, value in tree.items()})

    def _mapped(self, vector: Tensor) -> Tensor:
        """Returns a copy of a vector (N,) that is a mapped file without a name."""
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".reply.", suffix=f".{os.getpid()}.tmp") as file:
            file.write(vector.numpy().data)
            file.flush()
            return torch.from_file(file.name, shared=False, size=len(vector), dtype=vector.dtype)
