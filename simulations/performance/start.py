"""From the command to the first local step."""

import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from simulations.performance.figures import ROOT, Figure, Measured, Plan, clock, in_turn

OURS = ("client", "common", "server", "simulations")

_FIRST_STEP = """
import sys
from client.trainer import Trainer

def first_step(self, *arguments, **named):
    import os
    names = [name for name in sys.modules if name.partition(".")[0] not in {ours!r}]
    os.write(1, "\\n".join(names).encode())
    os._exit(0)

Trainer.fit = first_step
from simulations.commands.main import main
sys.argv = ["fedgan", "simulate", "--out", {out!r}]
main()
"""
"""The command, which ends where the first client would take its first step, with the modules that were imported."""

_IMPORTS = """
import importlib, os, sys, warnings
warnings.simplefilter("ignore")
for name in sys.stdin.read().split("\\n"):
    try:
        importlib.import_module(name)
    except BaseException:
        pass
os._exit(0)
"""
"""What others' code takes: the same modules in the same order, and nothing else."""

_MOST_PACKAGES = 8


def start(plan: Plan) -> Measured:
    """Seconds from `fedgan simulate` to the first local step of the first client, with warm disk caches.

    Ours is what is left when a process that only imports the same third-party modules is taken off.
    """
    with tempfile.TemporaryDirectory() as folder:
        counter = iter(range(1_000_000))

        def command() -> subprocess.CompletedProcess[str]:
            code = _FIRST_STEP.format(ours=OURS, out=str(Path(folder) / f"run-{next(counter)}"))
            return _python("-c", code)

        modules = command().stdout
        if "torch" not in modules.split("\n"):
            raise RuntimeError("the command did not come to its first step")
        rows = in_turn(plan.times, lambda: clock(command), lambda: clock(lambda: _python("-c", _IMPORTS, said=modules)))
        yield Figure(key="seconds", what="command to first step", values=tuple(row[0] for row in rows), unit="s")
        values = tuple(row[1] for row in rows)
        yield Figure(key="imports", what="of that, importing third-party modules", values=values, unit="s")
        yield Figure(key="ours", what="of that, ours", values=tuple(row[0] - row[1] for row in rows), unit="s")
        by_package = [_import_times() for _ in range(plan.times)]
        most = Counter({name: max(times.get(name, 0.0) for times in by_package) for name in by_package[0]})
        for name, _ in most.most_common(_MOST_PACKAGES):
            times = tuple(each.get(name, 0.0) for each in by_package)
            yield Figure(key=f"import-{name}", what=f"import of {name} (its own modules)", values=times, unit="s")


def _import_times() -> dict[str, float]:
    """Returns the seconds of imports by top-level package, each module's own without what it imports."""
    code = "import simulations.runtime.in_process, simulations.runtime.progress, simulations.commands.main"
    seconds: dict[str, float] = {}
    for line in _python("-X", "importtime", "-c", code).stderr.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if len(parts) != 3 or not parts[0].strip().isdecimal():
            continue
        package = parts[2].strip().partition(".")[0]
        name = "fedgan" if package in OURS else package
        seconds[name] = seconds.get(name, 0.0) + int(parts[0]) / 1e6
    return seconds


def _python(*arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=env, input=said, capture_output=True, text=True, check=True
    )
