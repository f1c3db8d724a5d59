"""``python -m simulations.tools.gpu_session FOLDER``: all that a GPU is needed for, in one go of under twelve minutes.

Tests, benchmarks and whole recipes, each with a limit of its own; what one of them prints is in the folder
as it comes, and a line a step in ``session.txt``. Where there is no GPU it does the least that runs all of it, and says
so.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
LONGEST = 12 * 60
"""Seconds of all limits together."""


@dataclass(frozen=True)
class Step:
    """A command.

    Attributes:
        name: Of the step and its log.
        arguments: Of Python.
        limit: Seconds after which it is ended.
    """

    name: str
    arguments: tuple[str, ...]
    limit: float


def steps(folder: Path, data: str, *, has_gpu: bool) -> tuple[Step, ...]:
    """Returns what a session does.

    Args:
        folder: Where runs and figures go.
        data: Where MNIST is; empty: runs take the embedded images.
        has_gpu: Else everything is as small as can be.
    """
    quick = () if has_gpu else ("--quick",)
    performance = "-m", "simulations.performance", "--only"
    figures = *quick, "--json", str(folder / "figures.json")
    return (
        Step("tests", ("-m", "pytest", "-q", "-m", "gpu", "tests/unit/client", "tests/unit/simulations/runtime"), 60),
        Step("host", (*performance, "host", *figures), 60),
        Step("gpu", (*performance, "gpu", "--repeats", "3", *figures), 180),
        Step("convolutions", (*performance, "convolutions", "--repeats", "3", *figures), 60),
        Step("p1-full", _recipe(folder, "p1-full", data, (500, 100) if has_gpu else (1, 1)), 240),
        Step("p1", _recipe(folder, "p1", data, (60, 20) if has_gpu else (1, 1)), 40),
        Step("t1", _text_recipe(folder, 120 if has_gpu else 1), 70),
    )


def _text_recipe(folder: Path, rounds: int) -> tuple[str, ...]:
    size = "" if rounds > 1 else " local.steps=1 evaluation.every=0 evaluation.final-num-samples=100"
    settings = f"federation.num-rounds={rounds} evaluation.federated=false output.checkpoint-every=200{size}"
    arguments = "simulate", "t1", "--engine", "batched", "--out", str(folder / "t1"), "-c", settings
    return "-m", "simulations.commands.main", *arguments


def _recipe(folder: Path, name: str, data: str, size: tuple[int, int]) -> tuple[str, ...]:
    rounds, num_steps = size
    source = f'data.root="{data}"' if data else 'data.name="mnist-10k"'
    scores = (
        "evaluation.every=0"
        if rounds > 1
        else ("evaluation.every=0 evaluation.final-num-samples=100 evaluation.utility-num-samples=0")
    )
    sizes = f"federation.num-rounds={rounds} local.steps={num_steps} output.checkpoint-every={max(1, rounds // 10)}"
    arguments = "simulate", "p1", "--engine", "batched", "--out", str(folder / name), "-c", f"{source} {sizes} {scores}"
    return "-m", "simulations.commands.main", *arguments


def session(folder: Path, todo: Sequence[Step]) -> bool:
    """Runs the steps in turn; returns whether all of them ended well and in time."""
    folder.mkdir(parents=True, exist_ok=True)
    well = True
    for step in todo:
        start = time.perf_counter()
        with (folder / f"{step.name}.log").open("w") as log:
            try:
                command = [sys.executable, *step.arguments]
                code = subprocess.run(
                    command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, timeout=step.limit, check=False
                ).returncode
                ended = "done" if code == 0 else f"failed with exit code {code}"
            except subprocess.TimeoutExpired:
                ended = f"stopped at its limit of {step.limit:g} s"
        well = well and ended == "done"
        _say(folder, f"{step.name}: {ended}, {time.perf_counter() - start:.1f} s, see {step.name}.log")
    return well


def _say(folder: Path, line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
    with (folder / "session.txt").open("a") as file:
        file.write(line + "\n")


def main() -> int:
    """Runs a session; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m simulations.tools.gpu_session", description=__doc__)
    parser.add_argument("folder", type=Path, help="where logs, figures and runs go")
    parser.add_argument("--data", default="", metavar="DIR", help="MNIST in torchvision's layout; else embedded images")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    has_gpu = torch.cuda.is_available()
    name = torch.cuda.get_device_name() if has_gpu else "no GPU: everything runs on the CPU, as small as can be"
    _say(folder, f"{name}; PyTorch {torch.__version__}")
    return 0 if session(folder, steps(folder, arguments.data, has_gpu=has_gpu)) else 1


if __name__ == "__main__":
    sys.exit(main())
