"""Data sets kept on the device where they are trained on, as they are stored: moved once, and gathered there."""

import threading

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

_SHARE_OF_MEMORY = 0.25
"""Of what is free on a GPU: larger data sets stay on the CPU, and their batches are moved one by one."""

_LOCK = threading.Lock()
_COPIES: dict[torch.device, WeakTensorKeyDictionary] = {}


def resident(values: Tensor, device: torch.device) -> Tensor:
    """Returns a copy of ``values`` on ``device`` that is made once, for as long as they live.

    Themselves, if they are there, or if a GPU's memory has no room for them.
    """
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
