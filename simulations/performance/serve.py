"""``fedgan serve`` under load: images a second over what the generator makes by itself, and how long answers take."""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.config import RunConfig
from common.generation import balanced_labels, generate
from simulations.performance.figures import ROOT, Figure, Measured, Plan
from simulations.performance.load import Answers, load
from simulations.runs.generator import LoadedGenerator, load_trained
from simulations.runtime.in_process import simulate

_CLIENTS = 32
_FORMATS = ("png", "jpeg", "webp", "npz")
_BATCH = 500  # of ``generate``
_PARTS = ((0.5, "half"), (0.95, "95 %"), (0.99, "99 %"))


def serve(plan: Plan) -> Measured:
    """32 clients ask `fedgan serve` for images at once, on connections that stay; then one, for one image at a time.

    The server is three processes, for HTTP, for encoders and for the generator, and all clients are one thread of
    another. Images a second are divided by those of the generator by itself: `generate` in batches of 500 on one
    thread, before and after.
    """
    seconds = 0.2 if plan.quick else 3.0
    with tempfile.TemporaryDirectory() as folder:
        trained = _trained(Path(folder) / "run")
        with _serving(Path(folder) / "run") as port:
            cases = [(form, num) for num in (64, 1) for form in (_FORMATS[:1] if plan.quick else _FORMATS)]
            found: dict[tuple[str, int], list[tuple[Answers, float]]] = {case: [] for case in cases}
            _answers(port, _FORMATS[0], 1, 0.0, clients=1)  # its processes have begun
            single: list[Answers] = []
            for repeat in range(plan.times):
                for case in cases if repeat % 2 == 0 else reversed(cases):
                    before = _alone(trained, seconds / 3)
                    answers = _answers(port, *case, seconds)
                    found[case].append((answers, (before + _alone(trained, seconds / 3)) / 2))
                single.append(_answers(port, _FORMATS[0], 1, seconds, clients=1))
    own = tuple(statistics.mean(alone for _, alone in rows) for rows in zip(*found.values(), strict=True))
    yield Figure(key="own", what="the generator by itself", values=own, unit="images/s")
    for (form, num), rows in found.items():
        yield from _figures(form, num, rows)
    yield from _waits("single", single, "one client, one image: ")


def _figures(form: str, num: int, rows: list[tuple[Answers, float]]) -> Iterator[Figure]:
    key, each = f"{form}-{num}", f"{form}, {num} image{'s' * (num > 1)} a request"
    ratios = tuple(answers.a_second * num / alone for answers, alone in rows)
    yield Figure(key=key, what=f"{each}: images a second over the generator by itself", values=ratios)
    rates = tuple(answers.a_second for answers, _ in rows)
    yield Figure(key=f"{key}-requests", what="of that, requests", values=rates, unit="a second")
    yield from _waits(key, [answers for answers, _ in rows])


def _waits(key: str, rows: list[Answers], before: str = "") -> Iterator[Figure]:
    for share, words in _PARTS:
        waits = tuple(answers.quantile(share) * 1e3 for answers in rows)
        what = f"{before}{words} of the answers within"
        yield Figure(key=f"{key}-p{share * 100:g}", what=what, values=waits, unit="ms")


def _trained(path: Path) -> LoadedGenerator:
    simulate(
        RunConfig().replaced(
            {
                "federation.num-clients": 2,
                "federation.num-rounds": 1,
                "local.steps": 1,
                "evaluation.every": 0,
                "evaluation.federated": False,
                "evaluation.final-num-samples": 100,
                "evaluation.utility-num-samples": 0,
                "output.dir": str(path),
            }
        ),
        num_workers=1,
    )
    return load_trained(path)


def _alone(trained: LoadedGenerator, seconds: float) -> float:
    """Returns images a second of the generator alone."""
    labels = balanced_labels(_BATCH, trained.spec.num_classes)
    start, passes = time.perf_counter(), 0
    while not passes or time.perf_counter() - start < seconds:
        generate(trained.generator, labels, passes)
        passes += 1
    return passes * _BATCH / (time.perf_counter() - start)


def _answers(port: int, form: str, num: int, seconds: float, clients: int = _CLIENTS) -> Answers:
    def body(number: int) -> bytes:
        return json.dumps({"num": num, "seed": number, "format": form}).encode()

    return load(port, "/api/runs/run/generate", body, clients, seconds / 6, seconds)


@contextmanager
def _serving(run: Path) -> Iterator[int]:
    """Serves a run in a process of its own while the block runs; gives the port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "simulations.commands.main", "serve", str(run), "--port", "0"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        said = process.stderr.readline()
        where = re.search(r"http://\S+:(\d+)", said)
        if where is None:
            raise RuntimeError(f"fedgan serve did not start: {said}{process.stderr.read()}")
        threading.Thread(target=process.stderr.read, daemon=True).start()  # so that it is never full
        yield int(where[1])
    finally:
        process.terminate()
        process.wait(30)
