"""What a benchmark gives: figures, each with the values of all repeats, on a machine that is named with them."""

import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from pydantic import Field

from common.components import Options
from common.machine import processor
from common.threads import available_cores

ROOT = Path(__file__).parents[2]
PACKAGES = ("torch", "numpy", "flwr", "ray", "pfl", "blazefl")


class Plan(Options):
    """How much is measured."""

    quick: bool = Field(False, description="the least that runs all of the code; the figures say nothing")
    repeats: int = Field(5, ge=1, description="values of a figure")

    @property
    def times(self) -> int:
        """Repeats; one if it is to be quick."""
        return 1 if self.quick else self.repeats


class Figure(Options):
    """One quantity."""

    key: str = Field(description="its name within the benchmark; bars and remarks are about it")
    what: str = Field(description="what it is, for a person")
    values: tuple[float, ...] = Field(min_length=1, description="one a repeat, in order")
    unit: str = Field("x", description="x for a ratio of two things that were measured in turn")

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        """Returns the median, and the least and the most of several values."""
        unit = "" if self.unit == "x" else f" {self.unit}"
        spread = f" ({min(self.values):.3g} to {max(self.values):.3g})" if len(self.values) > 1 else ""
        return f"{self.median:.3g}{unit}{spread}"


class Skipped(Options):
    """What was not measured, and why."""

    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.what}: skipped, {self.why}"


Measured = Iterator[Figure | Skipped]
Benchmark = Callable[[Plan], Measured]


class Machine(Options):
    """Where and with what a benchmark ran."""

    processor: str
    cores: int = Field(description="that this process may use")
    gpu: str = ""
    python: str
    packages: dict[str, str]
    code: str = Field(description="the commit, with + where files differ from it")
    date: str

    def __str__(self) -> str:
        versions = ", ".join(f"{name} {number}" for name, number in self.packages.items())
        gpu = f", {self.gpu}" if self.gpu else ""
        where = f"{self.processor}, {self.cores} core{'s' * (self.cores > 1)}{gpu}"
        return f"{where}; Python {self.python}, {versions}; code {self.code}; {self.date}"


class Result(Options):
    """One benchmark's."""

    title: str
    machine: Machine
    seconds: float = Field(description="that the benchmark took")
    quick: bool
    figures: tuple[Figure, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    def figure(self, key: str) -> Figure | None:
        """Returns the figure of this name; None if it was not measured."""
        return next((figure for figure in self.figures if figure.key == key), None)


def in_turn(times: int, *sides: Callable[[], float]) -> list[tuple[float, ...]]:
    """Returns what each side gives, by repeat; every second repeat in the opposite order, so that drift hits all.

    Args:
        times: Repeats.
        sides: Each measures something once, and returns its seconds.
    """
    rows = []
    for repeat in range(times):
        order = range(len(sides)) if repeat % 2 == 0 else reversed(range(len(sides)))
        row = {side: sides[side]() for side in order}
        rows.append(tuple(row[side] for side in range(len(sides))))
    return rows


def clock(call: Callable[[], object], at_least: float = 0.0) -> float:
    """Returns the seconds of a call; of the mean of as many as it takes to fill ``at_least`` seconds."""
    start = time.perf_counter()
    calls = 0
    while not calls or time.perf_counter() - start < at_least:
        call()
        calls += 1
    return (time.perf_counter() - start) / calls


def this_machine() -> Machine:
    """Returns the machine that this runs on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return Machine(
        processor=processor(),
        cores=available_cores(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        python=platform.python_version(),
        packages=found,
        code=_code(),
        date=str(date.today()),
    )


def _code() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    commit = git("rev-parse", "--short=10", "HEAD")
    return f"{commit}{'+' if git('status', '--porcelain', '--untracked-files=no') else ''}" if commit else "unknown"
