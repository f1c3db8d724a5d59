"""Trees as Flower records: a tree travels as the bytes of one array, which are made when they are asked for.

Within a process nobody does, and the receiver has the sender's own tensors. So nobody writes to what it has sent or
received.
"""

import functools

import torch
from flwr.app import Array, ArrayRecord, Message
from safetensors import SafetensorError
from safetensors.torch import load, save

from common.errors import ProtocolError
from common.tree import FrozenTree, Tree, clone, without_shared_storage

_TREE, _FORMAT = "tree", "safetensors"
_DTYPES = (
    *(torch.float32, torch.float64, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool),
)


class _TreeArray(Array):
    """A Flower array that holds a tree by reference, and its bytes from when somebody asks for them."""

    __qualname__ = Array.__qualname__  # what Flower's objects say of themselves on the wire

    def __init__(self, tree: FrozenTree) -> None:
        super().__init__("uint8", (), _FORMAT, b"")
        self.__dict__.update(tree=tree, versions=_versions(tree))
        del self.__dict__["data"], self.__dict__["shape"]

    def __getattr__(self, name: str) -> bytes | tuple[int]:
        """Returns the bytes, or their number as a shape; called while they are not there yet."""
        if name not in ("data", "shape"):
            raise AttributeError(name)
        data = save(without_shared_storage({key: value.contiguous() for key, value in self.__dict__["tree"].items()}))
        self.__dict__.update(data=data, shape=(len(data),))
        found: bytes | tuple[int] = self.__dict__[name]
        return found

    def __reduce__(self) -> tuple[type[Array], tuple[str, tuple[int, ...], str, bytes]]:
        """Lets another process have the bytes."""
        return Array, (self.dtype, self.shape, self.stype, self.data)

    @functools.cached_property
    def num_bytes(self) -> int:
        """How many bytes there would be; counted once, as one array goes to a whole cohort."""
        return _num_bytes(tuple((k, v.dtype, v.shape) for k, v in self.__dict__["tree"].items()))


def _versions(tree: Tree) -> list[int]:
    """Returns how often each entry was written to, where torch counts it."""
    try:
        return [value._version for value in tree.values()]
    except RuntimeError:  # of tensors made in inference mode
        return [0 if value.is_inference() else value._version for value in tree.values()]


@functools.lru_cache(maxsize=64)
def _num_bytes(entries: tuple[tuple[str, torch.dtype, torch.Size], ...]) -> int:
    return len(save({key: torch.zeros(shape, dtype=dtype) for key, dtype, shape in entries}))


def encode_tree(tree: Tree) -> ArrayRecord:
    """Returns ``tree`` as one Flower array that holds it, in the safetensors format where it leaves the process.

    One, because every array costs two requests on each of a message's four ways: 1.6 s a deployed round for 33 of them.
    The tensors are taken as they are: they may not be written to from here on.

    Raises:
        TypeError: An entry of a type that does not travel.
    """
    names = sorted(tree)
    if not isinstance(tree, FrozenTree) or list(tree) != names:
        tree = FrozenTree({key: tree[key].detach().cpu() for key in names})
    for key, value in tree.items():
        if value.dtype not in _DTYPES:
            name = str(value.dtype).removeprefix("torch.")
            raise TypeError(f"{key} is {name}; only {', '.join(str(d)[6:] for d in _DTYPES)} travel")
    record = ArrayRecord()  # given the array at once, it would make a plain one of its bytes
    record[_TREE] = _TreeArray(tree)
    return record


def decode_tree(record: ArrayRecord) -> Tree:
    """Returns the tensors of ``record``, by name and in order of their names; not to be written to.

    Raises:
        ProtocolError: Another encoding or type, or bytes that do not fit what they say of themselves.
    """
    array = record.get(_TREE)
    if len(record) != 1 or array is None or array.stype != _FORMAT:
        raise ProtocolError(f"the arrays cannot be read: they are not one {_FORMAT} {_TREE!r}")
    if isinstance(array, _TreeArray):
        frozen: FrozenTree = array.__dict__["tree"]
        if _versions(frozen) != array.__dict__["versions"]:
            raise ProtocolError(
                "the arrays were written to after they had been sent: whoever changes what it has received in place, "
                "changes it for all others, so clone it first (common.tree)"
            )
        return frozen
    try:
        tree = dict(sorted(load(bytes(array.data)).items()))  # in an order of its own else
    except (SafetensorError, ValueError, TypeError, KeyError, OverflowError, RuntimeError) as error:
        raise ProtocolError(f"the arrays cannot be read: {str(error)[:200]}") from None
    for key, value in tree.items():
        if value.dtype not in _DTYPES:
            raise ProtocolError(f"{key[:80]} cannot be read: type {value.dtype}")
    return FrozenTree(clone(tree))


def message_bytes(message: Message) -> int:
    """Returns the bytes of the arrays in a message; the rest is a few hundred."""
    if not message.has_content():
        return 0
    arrays = [record for record in message.content.values() if isinstance(record, ArrayRecord)]
    return sum(
        len(key) + (array.num_bytes if isinstance(array, _TreeArray) else len(array.data))
        for record in arrays
        for key, array in record.items()
    )
