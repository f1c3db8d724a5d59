"""The memory of the device where clients train: what several of them share there is moved once (data sets, weights)."""

import threading

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from common.tree import FrozenTree, Tree, split

_SHARE_OF_MEMORY = 0.25
"""Of what is free on a GPU: larger data sets stay on the CPU, and their batches are moved one by one."""

_LOCK = threading.Lock()
_COPIES: dict[torch.device, WeakTensorKeyDictionary] = {}


def numbered(device: torch.device) -> torch.device:
    """Returns a device as its tensors name it: ``cuda:0`` where it was ``cuda``, which is not equal to it."""
    return torch.empty(0, device=device).device


def resident(values: Tensor, device: torch.device) -> Tensor:
    """Returns a copy of ``values`` on ``device`` that is made once, for as long as they live.

    Themselves, if they are there, or if a GPU's memory has no room for them.
    """
    device = numbered(device)
    if values.device == device:
        return values
    with _LOCK:
        copies = _COPIES.setdefault(device, WeakTensorKeyDictionary())
        if values not in copies:
            if not _has_room(values, device):
                return values
            copies[values] = values.to(device)
        found: Tensor = copies[values]
        return found


def on_device(tree: Tree, device: torch.device) -> Tree:
    """Returns a tree of weights with a copy on ``device``, moved in one piece and once for all clients that load it.

    The tree itself where the device is the CPU, and where it is no ``FrozenTree`` of float32 alone.
    """
    if device.type == "cpu" or not isinstance(tree, FrozenTree):
        return tree
    if any(value.dtype != torch.float32 for value in tree.values()):
        return tree
    return split(resident(tree.vector, device), {key: tree[key] for key in sorted(tree)})


def take(values: Tensor, places: Tensor) -> Tensor:
    """Returns ``values`` (N, ...) at ``places`` (M,), int64, on the device of the places."""
    if values.device == places.device:
        return values[places]
    return values[places.to(values.device)].to(places.device, non_blocking=True)


def _has_room(values: Tensor, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return values.numel() * values.element_size() <= _SHARE_OF_MEMORY * free
