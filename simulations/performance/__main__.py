"""``python -m simulations.performance``: speed and memory in one run.

Options: ``[--quick] [--only NAME ...] [--json FILE] [--page FILE]``.

``deployed`` and ``attacks`` run only where they are named: the one starts a deployment, the other takes half an hour.
"""

import argparse
import logging
import sys
import time
import traceback
from pathlib import Path

import torch

from common.errors import FedGANError
from simulations.performance.aggregation import aggregation
from simulations.performance.attacks import attacks
from simulations.performance.checkpoint_cost import checkpoints
from simulations.performance.compression import compression
from simulations.performance.convolutions import convolutions
from simulations.performance.deployed import deployed
from simulations.performance.families import families
from simulations.performance.figures import Benchmark, Figure, Plan, Result, this_machine
from simulations.performance.flower import flower
from simulations.performance.gpu import gpu
from simulations.performance.host import host
from simulations.performance.overhead import overhead
from simulations.performance.page import read_results, write_page, write_results
from simulations.performance.peers import peers
from simulations.performance.private_steps import private_steps
from simulations.performance.quality import quality
from simulations.performance.roofline import roofline
from simulations.performance.scale import scale
from simulations.performance.scores import scores
from simulations.performance.secure_aggregation import secure_aggregation
from simulations.performance.serve import serve
from simulations.performance.start import start
from simulations.performance.step import step

BENCHMARKS: dict[str, Benchmark] = {
    "roofline": roofline,
    "families": families,
    "private-steps": private_steps,
    "step": step,
    "overhead": overhead,
    "peers": peers,
    "flower": flower,
    "scale": scale,
    "aggregation": aggregation,
    "quality": quality,
    "start": start,
    "scores": scores,
    "checkpoints": checkpoints,
    "compression": compression,
    "secure-aggregation": secure_aggregation,
    "serve": serve,
    "host": host,
    "gpu": gpu,
    "convolutions": convolutions,
    "deployed": deployed,
    "attacks": attacks,
}
ON_DEMAND = ("deployed", "attacks")


def measure(name: str, plan: Plan) -> Result:
    """Runs one benchmark, and prints its figures as they come."""
    begun = time.perf_counter()
    figures, skipped = [], []
    for found in BENCHMARKS[name](plan):
        if isinstance(found, Figure):
            figures.append(found)
            print(f"{name:12} {found.what}: {found}", flush=True)
        else:
            skipped.append(found)
            print(f"{name:12} {found}", flush=True)
    return Result(
        title=" ".join((BENCHMARKS[name].__doc__ or "").split()),
        machine=this_machine(),
        seconds=time.perf_counter() - begun,
        quick=plan.quick,
        figures=tuple(figures),
        skipped=tuple(skipped),
    )


def main() -> int:
    """Measures, stores and writes what is asked for; returns the exit code."""
    arguments = _arguments()
    plan = Plan(quick=arguments.quick, repeats=arguments.repeats)
    file: Path | None = arguments.json
    names = arguments.only
    if names is None:
        names = [] if arguments.page else [name for name in BENCHMARKS if name not in ON_DEMAND]
    torch.set_num_threads(1)
    _be_quiet()
    failed = False
    try:
        if file is not None:
            read_results(file)  # a file of another kind is found before an hour is spent
        for name in names:
            try:
                result = measure(name, plan)
            except Exception:  # the others' hour is not to be lost with it
                print(f"{name} failed:\n{traceback.format_exc()}", file=sys.stderr)
                failed = True
                continue
            if file is not None:  # at once, so that nothing is lost where a later one fails; others' stay as they are
                stored = read_results(file) | {name: result}
                write_results(file, {known: stored[known] for known in BENCHMARKS if known in stored})
        if arguments.page:
            file = file or arguments.page.with_suffix(".json")
            write_page(arguments.page, file, arguments.page.with_suffix(".toml"))
    except FedGANError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulations.performance", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one tiny repeat each: proves that they run, no more")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="values of a figure")
    parser.add_argument("--only", nargs="+", choices=list(BENCHMARKS), metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="where figures are kept; those of others stay")
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="write the page; without --only nothing is measured for it"
    )
    return parser.parse_args()


def _be_quiet() -> None:
    for name in ("flwr", "fedgan"):
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())
        logger.setLevel(logging.ERROR)
    logging.getLogger("fedgan").propagate = False


if __name__ == "__main__":
    sys.exit(main())
