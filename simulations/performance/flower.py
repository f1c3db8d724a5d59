"""The same ServerApp and ClientApp under ``flwr run`` on Ray, against in process, with the same cores."""

import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from subprocess import run
from typing import Any

from common.config import Scalar
from server.records import journal
from simulations.performance.figures import ROOT, Figure, Measured, Plan
from simulations.performance.loops import PLAIN

_WAIT_SECONDS = 1800


def flower(plan: Plan) -> Measured:
    """The same job under `flwr run` on Ray, over `fedgan simulate` with the same cores, from a cold start.

    The same ServerApp, ClientApp and configuration; ten clients, one core each.
    """
    short: dict[str, Scalar] = {
        "local.steps": 1,
        "federation.num-rounds": 2 if plan.quick else 10,
        "evaluation.every": 0,
        "evaluation.final-num-samples": 100,
        "evaluation.utility-num-samples": 0,
    }
    pairs = [(_in_process(short), _on_ray(short)) for _ in range(plan.times)]
    values = tuple(_later(ray) / _later(ours) for ours, ray in pairs)
    yield Figure(key="round-1", what="a round of 1 step on Ray, over in process", values=values)
    values = tuple(ray["first"] / ours["first"] for ours, ray in pairs)
    yield Figure(key="first-round", what="from the command to the end of the first round, likewise", values=values)
    if plan.quick:
        return
    pairs = [(_in_process({}), _on_ray({})) for _ in range(plan.times)]
    values = tuple(ray["whole"] / ours["whole"] for ours, ray in pairs)
    yield Figure(key="quickstart", what="the whole quickstart, scores included, likewise", values=values)
    values = tuple(_later(ray) / _later(ours) for ours, ray in pairs)
    yield Figure(key="round-20", what="a round of 20 steps, likewise", values=values)
    for name, side in (("in process", 0), ("on Ray", 1)):
        values = tuple(pair[side]["whole"] for pair in pairs)
        key = f"seconds-{name.split()[-1].lower()}"
        yield Figure(key=key, what=f"the whole quickstart {name}", values=values, unit="s")


def _in_process(changes: dict[str, Scalar]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = _written(Path(folder), changes)
        command = [sys.executable, "-m", "simulations.commands.main", "simulate", str(file)]
        return _timed(Path(folder), lambda: run(command, cwd=ROOT, check=True, capture_output=True))


def _on_ray(changes: dict[str, Scalar]) -> dict[str, Any]:
    with tests_module("flower") as module, tempfile.TemporaryDirectory() as folder:
        file = _written(Path(folder), changes)
        clients = PLAIN.replaced(changes).federation.num_clients
        with module.flower(Path(folder) / "home") as home:

            def whole() -> None:
                number = home.submit(file, f"num-supernodes={clients} client-resources-num-cpus=1")
                status = home.wait(number, seconds=_WAIT_SECONDS)
                if status != "finished:completed":
                    raise RuntimeError(home.log(number))

            return _timed(Path(folder), whole)


@contextmanager
def tests_module(name: str) -> Any:
    """Gives a module of the equivalence tests, which know how to start Flower's processes and to leave none behind."""
    folder = str(ROOT / "tests" / "equivalence")
    sys.path.insert(0, folder)
    try:
        yield __import__(name)
    finally:
        sys.path.remove(folder)


def _written(folder: Path, changes: dict[str, Scalar]) -> Path:
    file = folder / "config.toml"
    file.write_text(PLAIN.replaced({**changes, "output.dir": str(folder / "run")}).toml(), encoding="utf-8")
    return file


def _timed(folder: Path, job: Callable[[], object]) -> dict[str, Any]:
    """Returns seconds to the end of the first round (its line in the journal) and to the summary, and of each round."""
    found: dict[str, float] = {}
    ended = threading.Event()
    files = {"first": folder / "run" / "journal.jsonl", "whole": folder / "run" / "summary.json"}
    start = time.perf_counter()

    def look() -> None:
        while len(found) < len(files) and not ended.wait(0.02):
            found.update(
                {key: time.perf_counter() - start for key in files.keys() - found.keys() if files[key].exists()}
            )

    watch = threading.Thread(target=look)
    watch.start()
    try:
        job()
    finally:
        ended.set()
        watch.join()
    seconds = time.perf_counter() - start
    lines = journal.read(files["first"])
    rounds = [sum(line["seconds"].values()) - line["seconds"].get("evaluate", 0.0) for line in lines]
    return {"first": found.get("first", seconds), "whole": found.get("whole", seconds), "rounds": rounds}


def _later(job: dict[str, Any]) -> float:
    """Returns the median seconds of the rounds after the first."""
    return float(statistics.median(job["rounds"][1:]))
