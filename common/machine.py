"""What computes: the last digits of weights hang on it, so every figure is kept with it."""

import platform
import subprocess
from pathlib import Path

import torch

UNKNOWN = "unknown"

_KEYS = ("model name", "Model", "cpu model", "Hardware", "cpu")  # of x86, and of ARM, MIPS, and POWER


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Returns the name of this machine's processor, as its system tells it; ``unknown`` where it does not.

    Args:
        cpuinfo: What Linux says of its processors; elsewhere there is none.
    """
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), " ".join(value.split()))
    names = [fields.get(key, "") for key in _KEYS]
    if not text:
        names += [_of_macos(), platform.processor()]
    kind = platform.machine()
    if "CPU part" in fields:  # ARM has numbers for names
        names.append(f"{kind}, implementer {fields.get('CPU implementer', UNKNOWN)}, part {fields['CPU part']}")
    return next((name for name in [*names, kind] if name), UNKNOWN)


def instructions() -> str:
    """Returns the widest vector instructions that PyTorch uses here: ``AVX2``, ``AVX512``, ``DEFAULT``, ..."""
    return str(torch.backends.cpu.get_cpu_capability())


def _of_macos() -> str:
    if platform.system() != "Darwin":
        return ""
    command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=5).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
