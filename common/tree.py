"""Arithmetic on trees: the weights of a set of networks as one flat ``dict[str, Tensor]``.

A key is ``"<network>.<parameter>"``, e.g. ``"generator.blocks.0.weight"``, so a network is a prefix. Floating tensors
are float32 (weights, wire and checkpoints); sums are taken in float64 and in the order of the arguments, so the result
does not depend on who computed what first. Integer tensors (counters of BatchNorm) are carried, never averaged.

A tree that was made by ``clone`` or ``weighted_mean``, or has come over the wire, has its floating entries one after
another in memory, in order of their names: what looks at all of them takes them for one vector (``flat_vector``).
"""

import functools
import hashlib
import math
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView

import torch
from torch import Tensor

Tree = Mapping[str, Tensor]

_unflatten = torch._C._nn.unflatten_dense_tensors
_BLOCK = 1 << 18  # coordinates that are summed at a time: few calls, and their float64 fits into a cache
_ROUGH_BLOCK = 1 << 19  # likewise, in float32: few calls, and memory that the allocator has at hand
_SMALLEST, _LARGEST = 1e-30, 1e30  # squares whose sum float32 can be trusted with


class FrozenTree(Mapping[str, Tensor]):
    """A tree that nobody writes to any more, as what travels; what looks at all of its entries finds them once.

    Args:
        tree: Its entries.
        is_checked: Whether it is known that ``not_finite`` is None, as of a tree that another process has looked at.
    """

    def __init__(self, tree: Tree, is_checked: bool = False) -> None:
        self._entries = dict(tree)
        if is_checked:
            self.__dict__["not_finite"] = None

    def __getitem__(self, key: str) -> Tensor:
        """Returns an entry."""
        return self._entries[key]

    def __iter__(self) -> Iterator[str]:
        """Returns the names of the entries."""
        return iter(self._entries)

    def __len__(self) -> int:
        """Returns the number of entries."""
        return len(self._entries)

    def keys(self) -> KeysView[str]:
        """Returns the names of the entries; as ``items`` and ``values`` a dict's own view, ten times as fast."""
        return self._entries.keys()

    def items(self) -> ItemsView[str, Tensor]:
        """Returns the names and the entries."""
        return self._entries.items()

    def values(self) -> ValuesView[Tensor]:
        """Returns the entries."""
        return self._entries.values()

    @functools.cached_property
    def vector(self) -> Tensor:
        """The floating entries, see ``flat_vector``."""
        return flat_vector(self._entries)

    @functools.cached_property
    def not_finite(self) -> str | None:
        """See the function ``not_finite``."""
        return not_finite(self._entries, self.vector)

    @property
    def is_checked(self) -> bool:
        """Whether all entries have been found to be finite."""
        return self.__dict__.get("not_finite", "") is None


def select(tree: Tree, networks: Iterable[str]) -> dict[str, Tensor]:
    """Returns the entries of ``tree`` that belong to the named networks, in the tree's order."""
    prefixes = tuple(f"{name}." for name in networks)
    return {key: value for key, value in tree.items() if key.startswith(prefixes)} if prefixes else {}


def networks_of(tree: Tree) -> tuple[str, ...]:
    """Returns the names of the networks in ``tree``, in order of appearance."""
    return tuple(dict.fromkeys(key.partition(".")[0] for key in tree))


def clone(tree: Tree) -> dict[str, Tensor]:
    """Returns a copy on the CPU that shares no memory with ``tree``, its float32 entries one after another."""
    packed = {key: value.detach() for key, value in sorted(tree.items()) if value.dtype == torch.float32}
    copies = split(torch.cat([value.reshape(-1) for value in packed.values()]).cpu(), packed) if packed else {}
    return {key: copies[key] if key in copies else value.detach().to("cpu", copy=True) for key, value in tree.items()}


def split(vector: Tensor, like: Tree) -> dict[str, Tensor]:
    """Returns a vector (N,) as the entries of a tree like that one, one after another; no copy."""
    return dict(zip(like, _unflatten(vector, list(like.values())), strict=True))


def flat_vector(tree: Tree) -> Tensor:
    """Returns the floating entries in order of their names as one vector (N,), N may be 0; not to be written to.

    A view where they lie so in memory, else a copy.
    """
    if isinstance(tree, FrozenTree):
        return tree.vector
    values = [value for key in sorted(tree) if (value := tree[key]).is_floating_point() and value.numel()]
    if not values:
        return torch.zeros(0)
    first = values[0]
    dtype, width, start = first.dtype, first.element_size(), first.data_ptr()
    place = start
    for value in values:
        if value.data_ptr() != place or value.dtype is not dtype or not value.is_contiguous():
            return torch.cat([value.reshape(-1) for value in values])
        place += value.numel() * width
    offset, size = first.storage_offset(), (place - start) // width
    if (offset + size) * width > first.untyped_storage().nbytes():  # neighbours by accident
        return torch.cat([value.reshape(-1) for value in values])
    return first.as_strided((size,), (1,), offset)


def without_slack(tree: Tree) -> Tree:
    """Returns ``tree``, or a copy of it where it holds on to more memory than its entries need."""
    held = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in tree.values()}
    needed = sum(value.numel() * value.element_size() for value in tree.values())
    return clone(tree) if sum(held.values()) > needed else tree


def without_shared_storage(tree: Tree) -> dict[str, Tensor]:
    """Returns ``tree`` with a copy of every tensor that shares memory with another one, as files hold no two."""
    spans = sorted(
        (value.data_ptr(), value.data_ptr() + value.numel() * value.element_size(), key)
        for key, value in tree.items()
        if value.numel()
    )
    shared: set[str] = set()
    end = 0
    for start, stop, key in spans:
        if start < end:
            shared.add(key)
        end = max(end, stop)
    return {key: value.clone() if key in shared else value for key, value in tree.items()}


def weighted_mean(trees: Sequence[Tree], weights: Sequence[float]) -> dict[str, Tensor]:
    """Returns sum_k w_k x_k / sum_k w_k for every floating entry, computed in float64.

    Identical trees give that tree to the bit, whatever the weights. Of an integer entry the largest value is taken.

    Args:
        trees: At least one tree; all with the same keys, shapes and dtypes.
        weights: One finite number >= 0 a tree, not all zero (images of the client, say).

    Raises:
        ValueError: No tree, another number of weights, or weights that are negative, not finite or all zero.
    """
    if not trees or len(trees) != len(weights):
        raise ValueError(f"{len(trees)} trees and {len(weights)} weights: one weight a tree, and at least one")
    total = math.fsum(weights)
    if not all(math.isfinite(w) and w >= 0 for w in weights) or total <= 0:
        raise ValueError(f"weights must be finite, >= 0 and not all zero: {list(weights)}")
    first = trees[0]
    packed = {key: value for key, value in sorted(first.items()) if value.dtype == torch.float32}
    vectors = [flat_vector(tree if len(packed) == len(tree) else {key: tree[key] for key in packed}) for tree in trees]
    mean = split(_mean(vectors, weights, total), packed) if packed else {}
    for key in first.keys() - mean.keys():
        values = [tree[key] for tree in trees]
        if values[0].is_floating_point():
            mean[key] = _mean([value.reshape(-1) for value in values], weights, total).view(values[0].shape)
        else:
            mean[key] = torch.stack(values).amax(0)
    return {key: mean[key] for key in first}


def _mean(vectors: Sequence[Tensor], weights: Sequence[float], total: float) -> Tensor:
    """Returns the mean of vectors (N,), summed in float64 in their order, a block of coordinates after another."""
    mean = torch.empty_like(vectors[0])
    summed, value = torch.empty(2, min(_BLOCK, len(mean)), dtype=torch.float64)
    for means, *blocks in zip(*(torch.split(vector, _BLOCK) for vector in (mean, *vectors)), strict=True):
        summed, value = summed[: len(means)].zero_(), value[: len(means)]
        for block, weight in zip(blocks, weights, strict=True):
            summed.add_(value.copy_(block), alpha=weight)
        means.copy_(summed.div_(total))
    return mean


def interpolate(old: Tree, new: Tree, keep: float) -> dict[str, Tensor]:
    """Returns ``keep * old + (1 - keep) * new`` in float64; integer entries are those of ``new``."""
    floats = {key: value for key, value in sorted(new.items()) if value.is_floating_point()}
    one, other = flat_vector({key: old[key] for key in floats}), flat_vector(floats)
    vector = torch.empty_like(other)
    kept, share = torch.empty(2, min(_BLOCK, len(other)), dtype=torch.float64)
    for before, after, block in zip(*(torch.split(v, _BLOCK) for v in (one, other, vector)), strict=True):
        kept, share = kept[: len(block)], share[: len(block)]
        block.copy_(kept.copy_(before).mul_(keep).add_(share.copy_(after).mul_(1.0 - keep)))
    mixed = split(vector, floats) if floats else {}
    return {key: mixed[key].to(value.dtype) if key in mixed else value.clone() for key, value in new.items()}


def distance(a: Tree, b: Tree) -> float:
    """Returns the Euclidean distance of the floating entries of ``a`` to those of ``b`` (keys of ``a``), float64."""
    keys = [key for key, value in a.items() if value.is_floating_point()]
    if not keys:
        return 0.0
    one, other = (torch.cat([tree[key].reshape(-1) for key in keys]).double() for tree in (a, b))
    return float((one - other).norm())


def rough_distance(a: Tree, b: Tree) -> float:
    """Returns what ``distance`` does to about five digits, at a twentieth of its cost."""
    if a.keys() != b.keys():
        b = {key: b[key] for key in a}
    one, other = flat_vector(a), flat_vector(b)
    blocks = zip(torch.split(one, _ROUGH_BLOCK), torch.split(other, _ROUGH_BLOCK), strict=True)
    square = sum(float(torch.dist(left, right)) ** 2 for left, right in blocks)
    return math.sqrt(square) if _SMALLEST < square < _LARGEST else distance(a, b)


def not_finite(tree: Tree, vector: Tensor | None = None) -> str | None:
    """Returns the key of the first floating entry that holds a NaN or an infinity; None if there is none.

    ``vector`` holds the floating entries, where the caller has ``flat_vector`` them.
    """
    if isinstance(tree, FrozenTree):
        return tree.not_finite
    vector = flat_vector(tree) if vector is None else vector
    if math.isfinite(float(vector.sum())):  # as no sum with a NaN or an infinity is; other sums may overflow
        return None
    floats = {key: value for key, value in tree.items() if value.is_floating_point()}
    return next((key for key, value in floats.items() if not bool(torch.isfinite(value).all())), None)


def digest(tree: Tree) -> str:
    """Returns the SHA-256 of names, dtypes, shapes and bytes: equal if and only if the trees are equal to the bit."""
    sha = hashlib.sha256()
    for key in sorted(tree):
        value = tree[key].detach().cpu().contiguous()
        sha.update(f"{key}:{value.dtype}:{tuple(value.shape)};".encode())
        sha.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()
