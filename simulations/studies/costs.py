"""What a cell takes: seconds by the clock, CPU seconds, and what GPUs draw, as far as the machine tells."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from common.files import write_atomically

FILE = "costs.json"

_EVERY = 5.0  # seconds between two writes, so that a killed process leaves all but the last of them


@contextmanager
def metered(folder: Path) -> Iterator[Callable[[], None]]:
    """Adds what the block takes to ``costs.json`` of a cell; yields what to call now and then while it runs.

    ``seconds`` and ``cpu-seconds`` are of this process and of those that it has begun and waited for. ``gpu-joules`` is
    what the GPUs drew that PyTorch sees here, by whoever used them, idle draw included; null where it is not known,
    and ``gpu`` says why. A cell that goes on adds up what each process took.

    Args:
        folder: Of the cell; it exists.
    """
    meter = _Meter(folder / FILE)
    try:
        yield meter.tick
    finally:
        meter.write()


def costs_in(folder: Path) -> dict[str, Any]:
    """Returns what a cell took, as ``metered`` wrote it; empty where nothing is known."""
    file = folder / FILE
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return found


class _Meter:
    def __init__(self, file: Path) -> None:
        self._file, self._before = file, costs_in(file.parent)
        self._lock = threading.Lock()
        self._gpu, self._unknown = _energy_meter()
        self._began, self._cpu, self._joules = time.perf_counter(), _cpu_seconds(), self._gpu()
        self._written = self._began

    def tick(self) -> None:
        """Writes what it took so far, if that was not done of late."""
        if time.perf_counter() - self._written >= _EVERY and self._lock.acquire(blocking=False):
            try:
                self.write()
            finally:
                self._lock.release()

    def write(self) -> None:
        self._written = time.perf_counter()
        joules, before = self._gpu(), self._before.get("gpu-joules", 0.0)
        known = joules is not None and self._joules is not None and before is not None
        why = self._unknown or self._before.get("gpu", "")
        found = {
            "seconds": self._before.get("seconds", 0.0) + self._written - self._began,
            "cpu-seconds": self._before.get("cpu-seconds", 0.0) + _cpu_seconds() - self._cpu,
            "gpu-joules": before + joules - self._joules if known else None,
            "gpu": "" if known else why or "NVML gave no further reading",
        }
        write_atomically(self._file, json.dumps(found).encode())


def _cpu_seconds() -> float:
    """Returns the CPU time of this process, and of those that it has begun and waited for."""
    return sum(os.times()[:4])


def _energy_meter() -> tuple[Callable[[], float | None], str]:
    """Returns what reads the joules that the visible GPUs have drawn since some time, and why nothing does."""
    if not torch.cuda.is_available():
        return lambda: 0.0, ""
    try:
        import pynvml
    except ImportError:
        return lambda: None, "NVML is read through nvidia-ml-py, which is not installed: pip install 'fedgan[study]'"
    try:
        pynvml.nvmlInit()
        ids = [torch.cuda.get_device_properties(k).uuid for k in range(torch.cuda.device_count())]
        devices = [pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{id}") for id in ids]

        def joules() -> float | None:
            try:
                return float(sum(map(pynvml.nvmlDeviceGetTotalEnergyConsumption, devices))) / 1000
            except pynvml.NVMLError:
                return None

        pynvml.nvmlDeviceGetTotalEnergyConsumption(devices[0])
    except (pynvml.NVMLError, AttributeError) as error:
        return lambda: None, f"NVML gives no reading: {error}"
    return joules, ""
