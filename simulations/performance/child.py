"""One federation in a process of its own: ``python -m simulations.performance.child``, for its peak memory.

Reads one JSON object, ``{"config": {...}, "workers": 1, "rounds": 3}``, from stdin, and writes one to stdout, on the
last line: seconds before the first round, wall seconds of each round, the peak of resident memory in bytes, and that of
the part which is no mapped file, so that the system could not drop it.
"""

import json
import logging
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from common.config import Scalar
from simulations.performance.figures import ROOT


def measure(config: dict[str, Scalar], workers: int, rounds: int) -> dict[str, Any]:
    """Returns what a child says of a federation."""
    task = json.dumps({"config": config, "workers": workers, "rounds": rounds})
    answer = subprocess.run(
        [sys.executable, "-m", "simulations.performance.child"],
        cwd=ROOT,
        input=task,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    if answer.returncode:
        raise RuntimeError(f"the federation with {config} failed: {answer.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Runs the federation."""
    from simulations.performance.federation import Federation
    from simulations.performance.loops import PLAIN

    logging.getLogger("flwr").setLevel(logging.ERROR)
    task = json.load(sys.stdin)
    anonymous: list[int] = []
    threading.Thread(target=_watch, args=(anonymous,), daemon=True).start()
    with Federation(PLAIN.replaced(task["config"]), task["workers"], warm=False) as federation:
        seconds = [federation.round() for _ in range(task["rounds"])]
        start = federation.start_seconds
    found = {"start": start, "rounds": seconds, "peak": peak_bytes(), "anonymous": max(anonymous, default=0)}
    print(json.dumps(found))


def _watch(anonymous: list[int]) -> None:
    """Notes a hundred times a second how much of the process's memory is no mapped file; nothing but on Linux."""
    while (now := _status("RssAnon")) is not None:
        anonymous.append(now)
        time.sleep(0.01)


def peak_bytes() -> int:
    """Returns the most memory that this process has held since its program began.

    Linux hands ``ru_maxrss`` on from the parent that started it, however large that was; its own mark is elsewhere.
    """
    if (peak := _status("VmHWM")) is not None:
        return peak
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _status(name: str) -> int | None:
    """Returns bytes that Linux tells of this process; None elsewhere."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None


if __name__ == "__main__":
    main()
