"""Where the time of a GPU goes: by kind of kernel, and while it waits."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

KINDS = {
    "convolutions": ("conv", "cudnn", "wgrad", "dgrad", "winograd", "xmma", "im2col"),
    "matrix products": ("gemm", "gemv", "cublas", "cutlass"),
    "copies": ("memcpy", "memset", "copy", "index", "gather", "catarray"),
    "normalisations": ("norm",),
    "the optimiser": ("adam", "multi_tensor", "sgd"),
}
"""Parts of the names of kernels, in lower case, by what they do; the first kind that fits counts."""

REST, IDLE = "all other kernels", "idle"


@dataclass(frozen=True)
class Kernel:
    """What a GPU did.

    Attributes:
        name: As the profiler has it.
        start: In microseconds.
        length: Likewise.
    """

    name: str
    start: float
    length: float


def kind_of(name: str) -> str:
    """Returns the kind of a kernel by its name."""
    lower = name.lower()
    return next((kind for kind, parts in KINDS.items() if any(part in lower for part in parts)), REST)


def shares(kernels: Iterable[Kernel]) -> dict[str, float]:
    """Returns which share of the time from the first kernel's start to the last one's end each kind takes, and idle.

    Kernels that run at the same time share it evenly: each counts by its length, and all together by the time in which
    any of them ran.
    """
    ordered = sorted(kernels, key=lambda kernel: kernel.start)
    if not ordered:
        return {}
    spent = dict.fromkeys((*KINDS, REST), 0.0)
    busy, end = 0.0, ordered[0].start
    for kernel in ordered:
        spent[kind_of(kernel.name)] += kernel.length
        stop = kernel.start + kernel.length
        busy += max(0.0, stop - max(end, kernel.start))
        end = max(end, stop)
    whole, total = end - ordered[0].start, sum(spent.values())
    found = {kind: spent[kind] / total * busy / whole for kind in (*KINDS, REST)}
    return found | {IDLE: 1 - busy / whole}


def profiled(call: Callable[[], object]) -> tuple[list[Kernel], int]:
    """Returns what the GPU does during a call, and how often the host launches something meanwhile."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        call()
        torch.cuda.synchronize()
    events: list[Any] = list(profile.events() or [])
    kernels = [
        Kernel(event.name, event.time_range.start, event.time_range.elapsed_us())
        for event in events
        if event.device_type.name == "CUDA"
    ]
    return kernels, sum("Launch" in event.name for event in events)
