"""How messages pass between the processes of one host: pickled, with weights in shared memory, not in the pipe."""

import itertools
import os
import pickle
import shutil
import tempfile
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from common import wire
from common.tree import FrozenTree, flat_vector, split

_SHARED = Path("/dev/shm")
_Rest = dict[str, tuple[NDArray[np.uint8], torch.dtype, tuple[int, ...]]]  # bytes, as NumPy has no bfloat16
_LEAST_BYTES = 1 << 16  # smaller trees go through the pipe


def new_folder() -> Path | None:
    """Returns a new folder in shared memory; None on systems without."""
    return Path(tempfile.mkdtemp(prefix="fedgan-", dir=_SHARED)) if os.access(_SHARED, os.W_OK) else None


class Shared:
    """A folder in shared memory for the trees of some processes; on systems without one trees go through the pipes.

    A file that is written for one receiver is removed by it, and one for several when its tree is gone.

    Args:
        folder: Where files are made; None: nowhere.
        for_several: Trees are sent to several receivers, as they are.
    """

    def __init__(self, folder: Path | None, for_several: bool) -> None:
        self.folder = folder
        self._for_several = for_several
        self._numbers = itertools.count()
        self._sent: dict[int, Path] = {}
        self._lock = threading.Lock()

    def dump(self, value: object, file: IO[bytes]) -> None:
        """Writes ``value`` to a pipe."""
        _Pickler(file, self).dump(value)
        file.flush()

    def load(self, file: IO[bytes]) -> Any:
        """Reads what ``dump`` has written on the other side."""
        return pickle.load(file)

    def close(self) -> None:
        """Removes the folder; whoever has mapped what is in it keeps that."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def reduced(self, tree: FrozenTree) -> tuple[Any, ...]:
        """Returns how a tree is pickled."""
        packed = {key: value for key, value in sorted(tree.items()) if value.dtype == torch.float32 and value.numel()}
        rest = {
            key: (value.reshape(-1).view(torch.uint8).numpy(), value.dtype, tuple(value.shape))
            for key, value in tree.items()
            if key not in packed
        }
        shapes = {key: tuple(value.shape) for key, value in packed.items()}
        vector = flat_vector(packed).numpy() if packed else np.zeros(0, np.float32)
        path = self._file(tree, vector) if vector.nbytes >= _LEAST_BYTES else None
        if path is None:
            return _tree, (vector, shapes, rest, list(tree))
        return _mapped, (str(path), not self._for_several, shapes, rest, list(tree))

    def _file(self, tree: FrozenTree, vector: NDArray[np.float32]) -> Path | None:
        """Returns a file that holds a vector, of an earlier sending if there was one; None where there is no room."""
        if self.folder is None:
            return None
        with self._lock:
            if self._for_several and (path := self._sent.get(id(tree))):
                return path
            path = self.folder / f"{os.getpid()}-{next(self._numbers)}"
            try:
                path.write_bytes(vector.data)
            except OSError:
                path.unlink(missing_ok=True)
                return None
            if self._for_several:
                self._sent[id(tree)] = path
                weakref.finalize(tree, self._forget, id(tree), path)
            return path

    def _forget(self, name: int, path: Path) -> None:
        del self._sent[name]
        with suppress(OSError):
            path.unlink()


class _Pickler(pickle.Pickler):
    """Pickles records of arrays as the trees that they are, and trees as ``Shared`` says."""

    def __init__(self, file: IO[bytes], shared: Shared) -> None:
        super().__init__(file, protocol=5)
        self._shared = shared

    def reducer_override(self, value: Any) -> Any:
        """Returns how a value is pickled."""
        if isinstance(value, ArrayRecord):
            tree = wire.decode_tree(value)
            return wire.encode_tree, (tree if isinstance(tree, FrozenTree) else FrozenTree(tree),)
        if isinstance(value, FrozenTree):
            return self._shared.reduced(value)
        return NotImplemented


def _tree(vector: NDArray[np.float32], shapes: dict[str, tuple[int, ...]], rest: _Rest, order: list[str]) -> FrozenTree:
    return _assembled(torch.from_numpy(vector), shapes, rest, order)


def _mapped(path: str, mine: bool, shapes: dict[str, tuple[int, ...]], rest: _Rest, order: list[str]) -> FrozenTree:
    size = os.stat(path).st_size // np.dtype(np.float32).itemsize
    vector = torch.from_file(path, shared=False, size=size, dtype=torch.float32)
    if mine:
        os.unlink(path)
    return _assembled(vector, shapes, rest, order)


def _assembled(vector: torch.Tensor, shapes: dict[str, tuple[int, ...]], rest: _Rest, order: list[str]) -> FrozenTree:
    like = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    found = split(vector, like) if like else {}
    found |= {key: torch.from_numpy(value).view(dtype).view(shape) for key, (value, dtype, shape) in rest.items()}
    return FrozenTree({key: found[key] for key in order})
