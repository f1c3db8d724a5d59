"""Arithmetic on trees: the weights of a set of networks as one flat ``dict[str, Tensor]``.

A key is ``"<network>.<parameter>"``, e.g. ``"generator.blocks.0.weight"``, so a network is a prefix. Floating tensors
are float32 (weights, wire and checkpoints); sums are taken in float64 and in the order of the arguments, so the result
does not depend on who computed what first. Integer tensors (counters of BatchNorm) are carried, never averaged.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

Tree = Mapping[str, Tensor]


def select(tree: Tree, networks: Iterable[str]) -> dict[str, Tensor]:
    """Returns the entries of ``tree`` that belong to the named networks, in the tree's order."""
    prefixes = tuple(f"{name}." for name in networks)
    return {key: value for key, value in tree.items() if key.startswith(prefixes)} if prefixes else {}


def networks_of(tree: Tree) -> tuple[str, ...]:
    """Returns the names of the networks in ``tree``, in order of appearance."""
    return tuple(dict.fromkeys(key.partition(".")[0] for key in tree))


def clone(tree: Tree) -> dict[str, Tensor]:
    """Returns a copy on the CPU that shares no memory with ``tree``."""
    return {key: value.detach().to("cpu", copy=True) for key, value in tree.items()}


def apart(tree: Tree) -> dict[str, Tensor]:
    """Returns ``tree`` with a copy of every tensor that shares its memory with an earlier one, as files hold no two."""
    places: set[int] = set()
    found: dict[str, Tensor] = {}
    for key, value in tree.items():
        place = value.untyped_storage().data_ptr()
        found[key] = value.clone() if place and place in places else value
        places.add(place)
    return found


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
    mean: dict[str, Tensor] = {}
    for key, first in trees[0].items():
        if not first.is_floating_point():
            mean[key] = torch.stack([tree[key] for tree in trees]).amax(0)
            continue
        total_value = torch.zeros_like(first, dtype=torch.float64)
        for tree, weight in zip(trees, weights, strict=True):
            total_value.add_(tree[key].to(torch.float64), alpha=weight)
        mean[key] = total_value.div_(total).to(first.dtype)
    return mean


def interpolate(old: Tree, new: Tree, keep: float) -> dict[str, Tensor]:
    """Returns ``keep * old + (1 - keep) * new`` in float64; integer entries are those of ``new``."""
    mixed = {}
    for key, value in new.items():
        if value.is_floating_point():
            mixed[key] = (old[key].double() * keep + value.double() * (1.0 - keep)).to(value.dtype)
        else:
            mixed[key] = value.clone()
    return mixed


def distance(a: Tree, b: Tree) -> float:
    """Returns the Euclidean distance of the floating entries of ``a`` to those of ``b`` (keys of ``a``), float64."""
    keys = [key for key, value in a.items() if value.is_floating_point()]
    if not keys:
        return 0.0
    one, other = (torch.cat([tree[key].reshape(-1) for key in keys]).double() for tree in (a, b))
    return float((one - other).norm())


def not_finite(tree: Tree) -> str | None:
    """Returns the key of the first floating entry that holds a NaN or an infinity; None if there is none."""
    floats = {key: value for key, value in tree.items() if value.is_floating_point()}
    if not floats or bool(torch.isfinite(torch.cat([value.reshape(-1) for value in floats.values()])).all()):
        return None
    return next(key for key, value in floats.items() if not bool(torch.isfinite(value).all()))


def digest(tree: Tree) -> str:
    """Returns the SHA-256 of names, dtypes, shapes and bytes: equal if and only if the trees are equal to the bit."""
    sha = hashlib.sha256()
    for key in sorted(tree):
        value = tree[key].detach().cpu().contiguous()
        sha.update(f"{key}:{value.dtype}:{tuple(value.shape)};".encode())
        sha.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()
