"""How messages pass between the processes of one host: pickled, with weights in shared memory, not in the pipe."""

import functools
import itertools
import mmap
import os
import pickle
import shutil
import tempfile
import threading
import weakref
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from flwr.app import ArrayRecord
from numpy.typing import NDArray
from torch import Tensor

from common import wire
from common.tree import FrozenTree, flat_vector, split

_SHARED = Path("/dev/shm")
_LEAST_BYTES = 1 << 16  # smaller trees go through the pipe
_MOST_IDLE = 256  # vectors that are written while a free file waits in vain for one of its size

Free = deque[str]
"""Names of files that their writer may use again; appended to by whatever thread lets go of a tree."""


def new_folder() -> Path | None:
    """Returns a new folder in shared memory; None on systems without."""
    return Path(tempfile.mkdtemp(prefix="fedgan-", dir=_SHARED)) if os.access(_SHARED, os.W_OK) else None


class Shared:
    """A folder in shared memory for the trees of some processes; on systems without one trees go through the pipes.

    A file is written by one process and mapped by the others, and written again when nobody holds the tree in it: to
    pages that are there already it takes a twentieth of the time that new ones take.

    Args:
        folder: Where files are made; None: nowhere.
        is_caller: Trees are sent to several receivers, and those that come from one are sent on where they lie. The
            others write a tree for the caller, who says when its file is free.
    """

    def __init__(self, folder: Path | None, is_caller: bool) -> None:
        self.folder = folder
        self._is_caller = is_caller
        self._files = _Files(folder)
        self._mapped: dict[str, mmap.mmap] = {}
        self._names: dict[int, str] = {}  # id of a tree -> where it lies
        self._lock = threading.Lock()

    def dump(self, value: object, file: IO[bytes]) -> list[FrozenTree]:
        """Writes ``value`` to a pipe; returns its trees, to be held until the other side has read them."""
        pickler = _Pickler(file, self)
        pickler.dump(value)
        file.flush()
        return pickler.trees

    def load(self, file: IO[bytes], free: Free | None = None) -> Any:
        """Reads what ``dump`` has written on the other side.

        Args:
            file: The pipe.
            free: Takes the names of files that were read here when what was in them is no longer held.
        """
        return _Unpickler(file, self, free).load()

    def reuse(self, names: Iterable[str]) -> None:
        """Says that these files of this process are free."""
        self._files.reuse(names)

    def forget(self, pid: int) -> None:
        """Removes the files of a process that has ended; whoever has mapped them keeps what is in them."""
        with self._lock:
            for key, name in self._names.copy().items():
                if _writer(name) == pid:
                    self._names.pop(key, None)
            for name in [name for name in self._mapped if _writer(name) == pid]:
                del self._mapped[name]
        if self.folder is not None:
            for path in self.folder.glob(f"{pid}-*"):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Removes the folder; whoever has mapped what is in it keeps that."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def packed(self, tree: FrozenTree) -> "_Packed":
        """Returns how a tree is pickled."""
        floats = [key for key in sorted(tree) if tree[key].dtype == torch.float32 and tree[key].numel()]
        vector = (tree.vector if len(floats) == len(tree) else flat_vector({k: tree[k] for k in floats})).numpy()
        name = self._name_of(tree, vector) if vector.nbytes >= _LEAST_BYTES else None
        return _Packed(
            vector=vector if name is None else None,
            name=name or "",
            size=len(vector),
            shapes=tuple((key, tuple(tree[key].shape)) for key in floats),
            rest={
                key: (value.reshape(-1).view(torch.uint8).numpy(), value.dtype, tuple(value.shape))
                for key, value in tree.items()
                if key not in set(floats)
            }
            if len(floats) < len(tree)
            else {},
            order=tuple(tree),
            is_checked=tree.is_checked,
        )

    def unpacked(self, packed: "_Packed", free: Free | None) -> FrozenTree:
        """Returns the tree of ``packed``; see ``load``."""
        values = packed.vector
        if values is None:
            values = np.frombuffer(self._map(packed.name), np.float32, packed.size)
            if free is not None:
                weakref.finalize(values, free.append, packed.name).atexit = False  # tensors hold the array they are of
        vector = torch.from_numpy(values)
        found = split(vector, _like(packed.shapes)) if packed.shapes else {}
        found |= {key: torch.from_numpy(v).view(dtype).view(shape) for key, (v, dtype, shape) in packed.rest.items()}
        tree = FrozenTree({key: found[key] for key in packed.order}, is_checked=packed.is_checked)
        if free is not None and packed.name:
            self._note(tree, packed.name)
        return tree

    def _name_of(self, tree: FrozenTree, vector: NDArray[np.float32]) -> str | None:
        """Returns the file that holds a tree's vector, written if there is none yet; None where there is no room."""
        with self._lock:
            if name := self._names.get(id(tree)):
                return name
            name = self._files.write(vector)
        if name is not None and self._is_caller:
            weakref.finalize(tree, self._files.reuse, (name,)).atexit = False
            self._note(tree, name)
        return name

    def _note(self, tree: FrozenTree, name: str) -> None:
        self._names[id(tree)] = name
        weakref.finalize(tree, self._names.pop, id(tree), None).atexit = False

    def _map(self, name: str) -> mmap.mmap:
        with self._lock:
            if name not in self._mapped:
                assert self.folder is not None
                self._mapped = {k: v for k, v in self._mapped.items() if (self.folder / k).exists()}
                self._mapped[name] = _map(self.folder / name)
            return self._mapped[name]


class _Files:
    """Files that this process writes, by size when they are free."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._numbers = itertools.count()
        self._written: dict[
            str, tuple[int, int]
        ] = {}  # name -> size, and how many were written before it was last free
        self._free: dict[int, list[str]] = {}
        self._maps: dict[str, NDArray[np.float32]] = {}
        self._returned = Free()  # by any thread, also one that collects garbage
        self._num = 0

    def reuse(self, names: Iterable[str]) -> None:
        self._returned.extend(names)

    def write(self, vector: NDArray[np.float32]) -> str | None:
        """Returns the name of a file that holds a vector now; None where there is no room."""
        if self._folder is None:
            return None
        self._num += 1
        self._sort()
        if names := self._free.get(len(vector)):
            name = names.pop()
            if name not in self._maps:
                self._maps[name] = np.frombuffer(_map(self._folder / name), np.float32)
            np.copyto(self._maps[name], vector)
            return name
        name = f"{os.getpid()}-{next(self._numbers)}"
        path = self._folder / name
        try:
            path.write_bytes(vector.data)  # through a mapping a lack of room would end the process
        except OSError:
            path.unlink(missing_ok=True)
            return None
        self._written[name] = len(vector), self._num
        return name

    def _sort(self) -> None:
        """Takes back what is free, and removes what nobody has needed for long."""
        while self._returned:
            name = self._returned.popleft()
            size, _ = self._written[name]
            self._written[name] = size, self._num
            self._free.setdefault(size, []).append(name)
        for names in self._free.values():
            while names and self._num - self._written[names[0]][1] > _MOST_IDLE:
                name = names.pop(0)
                del self._written[name]
                self._maps.pop(name, None)
                with suppress(OSError):
                    (self._folder / name).unlink()  # type: ignore[operator]


@dataclass(frozen=True)
class _Packed:
    """A tree on its way.

    Attributes:
        vector: Its float32 entries in order of their names (N,); None where they are in a file.
        name: Of that file.
        size: N.
        shapes: Names and shapes of these entries.
        rest: Bytes, type and shape of the others; bytes, as NumPy has no bfloat16.
        order: Names of all.
        is_checked: See ``FrozenTree``.
    """

    vector: NDArray[np.float32] | None
    name: str
    size: int
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    rest: dict[str, tuple[NDArray[np.uint8], torch.dtype, tuple[int, ...]]]
    order: tuple[str, ...]
    is_checked: bool


class _Pickler(pickle.Pickler):
    """Pickles records of arrays as the trees that they are, and trees as ``Shared`` says."""

    def __init__(self, file: IO[bytes], shared: Shared) -> None:
        super().__init__(file, protocol=5)
        self._shared = shared
        self.trees: list[FrozenTree] = []

    def persistent_id(self, value: Any) -> Any:
        """Returns a tree in its packed form."""
        if type(value) is not FrozenTree:
            return None
        self.trees.append(value)
        return self._shared.packed(value)

    def reducer_override(self, value: Any) -> Any:
        """Returns how a value is pickled."""
        if isinstance(value, ArrayRecord):
            tree = wire.decode_tree(value)
            return wire.encode_tree, (tree if isinstance(tree, FrozenTree) else FrozenTree(tree),)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], shared: Shared, free: Free | None) -> None:
        super().__init__(file)
        self._shared, self._free = shared, free

    def persistent_load(self, packed: Any) -> FrozenTree:
        """Returns a tree of its packed form."""
        return self._shared.unpacked(packed, self._free)


@functools.lru_cache(maxsize=16)
def _like(shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> dict[str, Tensor]:
    """Returns tensors without memory, of these names and shapes; for ``split``."""
    return {key: torch.empty(shape, device="meta") for key, shape in shapes}


def _map(path: Path) -> mmap.mmap:
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 0)


def _writer(name: str) -> int:
    return int(name.partition("-")[0])
