"""Time and memory against the number of clients."""

import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from client.data import load
from common.config import RunConfig, Scalar
from common.seeding import numpy_generator
from simulations.performance.child import measure
from simulations.performance.figures import Figure, Measured, Plan

_IMAGES = 60_000  # as in MNIST: enough for 10,000 clients
_COHORT = 10


def scale(plan: Plan) -> Measured:
    """Wall time and peak memory of a process of its own, against the number of clients, with one worker.

    Against those of the federation with as many in a round, and against those of a round with as many steps in all;
    60,000 images of 28 x 28.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = _images(Path(folder), 2_000 if plan.quick else _IMAGES)
        sizes = (10, 50) if plan.quick else (10, 100, 1_000, 10_000)
        cases = {f"clients-{n}": (n, _COHORT) for n in sizes}
        if not plan.quick:
            cases["clients-10000-cohort-100"] = (10_000, 100)
        found: dict[str, list[dict[str, Any]]] = {key: [] for key in cases}
        for _ in range(plan.times):  # in turn, so that drift hits all
            for key, (clients, cohort) in cases.items():
                found[key].append(measure(_config(data, clients, cohort), 1, 2 if plan.quick else 5))
        few = found["clients-10"]
        for key, (clients, cohort) in cases.items():
            yield from _figures(key, f"{clients:,} clients, {cohort} in a round", found[key], few)
        yield from _cohorts(plan, data)


def _figures(key: str, what: str, found: list[dict[str, Any]], few: list[dict[str, Any]]) -> Measured:
    peaks = tuple(run["peak"] / 1e9 for run in found)
    yield Figure(key=f"{key}-peak", what=f"peak memory, {what}", values=peaks, unit="GB")
    yield Figure(key=f"{key}-start", what=f"before the first round, {what}", values=_starts(found), unit="s")
    yield Figure(key=f"{key}-round", what=f"a round, {what}", values=tuple(map(_round, found)), unit="s")
    if found is not few:
        pairs = list(zip(found, few, strict=True))
        memory = tuple(many["peak"] / ten["peak"] for many, ten in pairs)
        seconds = tuple(_round(many) / _round(ten) for many, ten in pairs)
        yield Figure(key=f"{key}-peak-growth", what=f"peak memory, {what}, over 10 clients", values=memory)
        yield Figure(key=f"{key}-round-growth", what=f"a round, {what}, over 10 clients", values=seconds)


def _cohorts(plan: Plan, data: Path) -> Measured:
    """Cohorts that do the same work together: as many steps in all."""
    cohorts = (2, 10) if plan.quick else (10, 100, 1_000)
    work = cohorts[-1]
    found: dict[int, list[dict[str, Any]]] = {cohort: [] for cohort in cohorts}
    for _ in range(plan.times):
        for cohort in cohorts:
            config = _config(data, cohorts[-1], cohort) | {"local.steps": work // cohort}
            found[cohort].append(measure(config, 1, 2))
    few = found[cohorts[0]]
    for cohort, runs in found.items():
        what = f"{cohort:,} clients in a round, {work // cohort} steps each"
        yield Figure(key=f"cohort-{cohort}-round", what=f"a round, {what}", values=tuple(map(_round, runs)), unit="s")
        peaks = tuple(run["peak"] / 1e9 for run in runs)
        yield Figure(key=f"cohort-{cohort}-peak", what=f"peak memory, {what}", values=peaks, unit="GB")
        if runs is not few:
            growth = tuple(_round(many) / _round(ten) for many, ten in zip(runs, few, strict=True))
            key = f"cohort-{cohort}-round-growth"
            yield Figure(key=key, what=f"a round, {what}, over one of {cohorts[0]}", values=growth)


def _starts(found: list[dict[str, Any]]) -> tuple[float, ...]:
    return tuple(run["start"] for run in found)


def _round(run: dict[str, Any]) -> float:
    """Returns the seconds of a run's median round, the first of which builds networks, left out."""
    return float(statistics.median(run["rounds"][1:]))


def _config(data: Path, clients: int, cohort: int) -> dict[str, Scalar]:
    return {
        "data.name": "npz",
        "data.root": str(data),
        "partition": "iid",
        "federation.num-clients": clients,
        "federation.fraction": cohort / clients,
        "local.steps": 1,
        "local.batch-size": 4,
        "evaluation.extractor": "none",
        "output.checkpoint-every": 1000,
        "admission.max-norm-ratio": 0.0,
    }


def _images(folder: Path, num: int) -> Path:
    """Writes the embedded digits, again and again, with a little noise, and returns the file."""
    train = load(RunConfig().data).train
    random = numpy_generator(0, "benchmark", "images")
    chosen = random.integers(len(train), size=num)
    noise = random.integers(8, size=(num, *train.stored.shape[1:]), dtype=np.uint8)
    images = np.maximum(train.stored.numpy()[chosen], noise)
    file = folder / "images.npz"
    np.savez(file, images=images, labels=train.labels.numpy()[chosen])
    return file
