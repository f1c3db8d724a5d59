"""``python -m benchmarks [--quick] [--only NAME ...] [--json FILE]``: every figure is a ratio or a count of one run.

``attacks`` takes half an hour, and runs only where it is named.
"""

import argparse
import json
import logging
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch

from benchmarks.attacks import AGGREGATES, ATTACKS, all_cells, table
from benchmarks.loops import Federation, HandWritten, quiet
from common.config import RunConfig
from server import journal
from server.checkpoint import Checkpoint, save_checkpoint

ROOT = Path(__file__).parents[1]
Row = dict[str, float | str]


def summary(values: list[float]) -> dict[str, float]:
    """Returns median, minimum and maximum."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def roofline(quick: bool) -> list[Row]:
    """In process against the hand-written loop of the same steps with the same threads; in turn, pair by pair."""
    rows = []
    repeats, rounds = (1, 1) if quick else (5, 1)
    steps = 2 if quick else 20
    config = quiet(RunConfig(), local__steps=steps)
    for workers in (1, 2):
        ours, theirs = Federation(config, workers), HandWritten(config, workers)
        num_steps = config.federation.num_clients * steps * rounds
        ours.run(1)
        theirs.run(2 * workers)
        pairs = [(ours.run(rounds)[0], theirs.run(num_steps)) for _ in range(repeats)]
        ours.close()
        ratio = summary([hand / fed for fed, hand in pairs])
        rows.append({"what": f"speed of the hand-written loop reached, {workers} thread(s), {steps} steps", **ratio})
    return rows


def scaling(quick: bool) -> list[Row]:
    """Two worker threads against one, pair by pair."""
    steps, repeats = (2, 1) if quick else (20, 5)
    config = quiet(RunConfig(), local__steps=steps)
    one, two = Federation(config, 1), Federation(config, 2)
    for federation in (one, two):
        federation.run(1)
    ratios = [one.run(1)[0] / two.run(1)[0] for _ in range(repeats)]
    for federation in (one, two):
        federation.close()
    return [{"what": f"speed of two workers over one, {steps} steps a round", **summary(ratios)}]


def overhead(quick: bool) -> list[Row]:
    """What a client's turn costs outside of training steps: messages, records, load, aggregate, state."""
    config = quiet(RunConfig(), local__steps=1)
    federation = Federation(config, 1)
    federation.run(1)
    clients = config.federation.num_clients
    costs = []
    for _ in range(1 if quick else 10):
        wall, fit = federation.run(1)
        costs.append((wall - fit) / clients * 1e3)
    federation.close()
    shape = {name: sum(p.numel() for p in n.parameters()) for name, n in _networks(config).items()}
    return [{"what": f"ms a client-round outside of training, {sum(shape.values()):,} parameters", **summary(costs)}]


def quickstart(quick: bool) -> list[Row]:
    """The command a newcomer runs, from a cold start to its report."""
    overrides = "federation.num-rounds=1 local.steps=1 evaluation.utility-num-images=1000" if quick else "seed=0"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "simulations.cli", "simulate", "--out", f"{folder}/run", "-c", overrides]
        start = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        seconds = time.perf_counter() - start
        scores = json.loads((Path(folder) / "run" / "summary.json").read_text())["scores"]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1024**2 if sys.platform != "darwin" else 1024**3)
    rows: list[Row] = [
        {"what": "quickstart, seconds", "median": seconds},
        {"what": "quickstart, peak GiB", "median": peak},
    ]
    return rows + [{"what": f"quickstart, {key}", "median": scores[key]} for key in ("fid", "score", "utility")]


def flower(quick: bool) -> list[Row]:
    """The same rounds under ``flwr run`` on Ray with the same cores, against in process."""
    sys.path.insert(0, str(ROOT / "tests" / "equivalence"))
    from flower import flower as own_superlink  # type: ignore[import-not-found]

    rounds, steps = (1, 1) if quick else (4, 20)
    changes = {"local__steps": steps, "federation__num_rounds": rounds, "evaluation__utility_num_images": 0}
    seconds, trains = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        configs = {name: quiet(RunConfig(), **changes, output__dir=f"{folder}/{name}") for name in ("ours", "ray")}
        file = Path(folder) / "config.toml"
        start = time.perf_counter()
        file.write_text(configs["ours"].toml())
        command = [sys.executable, "-m", "simulations.cli", "simulate", str(file)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        seconds["ours"] = time.perf_counter() - start
        file.write_text(configs["ray"].toml())
        with own_superlink(Path(folder) / "home") as flwr:
            start = time.perf_counter()
            run = flwr.submit(file, "num-supernodes=10 client-resources-num-cpus=1")
            status = flwr.wait(run, 600)
            seconds["ray"] = time.perf_counter() - start
            if status != "finished:completed":
                raise RuntimeError(flwr.log(run))
        for name in configs:
            lines = journal.read(Path(folder) / name / "journal.jsonl")
            trains[name] = [line["seconds"]["train"] for line in lines]
    return [
        {
            "what": f"whole run of {rounds} rounds x {steps} steps under flwr run, over in process",
            "median": seconds["ray"] / seconds["ours"],
        },
        {"what": "its first round", "median": trains["ray"][0] / trains["ours"][0]},
        {"what": "its last round", "median": trains["ray"][-1] / trains["ours"][-1]},
    ]


def deployed(quick: bool) -> list[Row]:
    """Rounds of a deployed federation whose clients take one step: what a round costs besides training."""
    sys.path.insert(0, str(ROOT / "tests" / "equivalence"))
    from hosts import deployment  # type: ignore[import-not-found]

    rows: list[Row] = []
    for num_clients in (1,) if quick else (1, 3):
        rounds = 2 if quick else 8
        with tempfile.TemporaryDirectory() as folder:
            config = quiet(
                RunConfig(),
                local__steps=1,
                federation__num_clients=num_clients,
                federation__num_rounds=rounds,
                evaluation__utility_num_images=0,
                output__dir=f"{folder}/run",
            )
            env = {"FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1", "OMP_NUM_THREADS": "1"}
            with deployment(Path(folder) / "fed", num_clients, namespaces=False, env=env) as made:
                made.start()
                run = made.submit(config)
                if made.wait(run, 600) != "finished:completed":
                    raise RuntimeError(made.log(run))
            lines = journal.read(Path(folder) / "run" / "journal.jsonl")
        seconds = [line["seconds"]["train"] - max(c["seconds"] for c in line["clients"]) for line in lines[1:]]
        rows.append({"what": f"seconds a deployed round besides training, {num_clients} client(s)", **summary(seconds)})
    return rows


def checkpoints(quick: bool) -> list[Row]:
    """Writing a checkpoint, with and without what ten clients keep, and its share of a round."""
    rows: list[Row] = []
    for moments in ("reset", "keep"):
        config = quiet(RunConfig(), local__moments=moments, local__steps=1 if quick else 20)
        federation = Federation(config, 2)
        federation.run(1)
        seconds, shares = [], []
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(1 if quick else 5):
                wall, _ = federation.run(1)
                content = Checkpoint(federation.snapshot, config.identity(), {})
                start = time.perf_counter()
                path = save_checkpoint(Path(folder), content, 3)
                seconds.append((time.perf_counter() - start) * 1e3)
                shares.append(seconds[-1] / wall / 10)
            size = path.stat().st_size / 1e6
        federation.close()
        what = f"of {size:.0f} MB (moments {moments})"
        rows.append({"what": f"ms to write a checkpoint {what}", **summary(seconds)})
        rows.append({"what": f"percent of a round that is, {what}", **summary(shares)})
    return rows


def attacks(quick: bool) -> list[Row]:
    """What two malicious clients of ten do, under each aggregate: half an hour."""
    tiny = {"federation.num-rounds": 1, "local.steps": 1, "evaluation.num-images": 100}
    cells = all_cells(AGGREGATES[:2], ("noise",), tiny) if quick else all_cells(AGGREGATES, tuple(ATTACKS), {})
    print(table(cells))
    return [
        {"what": f"fid, {row}, {column}", "median": cell.fid if math.isfinite(cell.fid) else "stopped"}
        for (row, column), cell in cells.items()
    ]


BENCHMARKS: dict[str, Callable[[bool], list[Row]]] = {
    "roofline": roofline,
    "scaling": scaling,
    "overhead": overhead,
    "quickstart": quickstart,
    "flower": flower,
    "deployed": deployed,
    "checkpoints": checkpoints,
    "attacks": attacks,
}
ON_DEMAND = {"attacks"}
"""Run only where named."""


def main() -> None:
    """Runs the benchmarks and prints a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one tiny repeat each: proves that they run, no more")
    parser.add_argument(
        "--only", nargs="+", choices=list(BENCHMARKS), default=[name for name in BENCHMARKS if name not in ON_DEMAND]
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    processor = platform.processor() or platform.machine()
    machine = f"{processor}, {os.cpu_count()} cores, torch {torch.__version__}, {date.today()}"
    print(machine)
    results: dict[str, list[Row]] = {}
    for name in arguments.only:
        results[name] = BENCHMARKS[name](arguments.quick)
        for row in results[name]:
            spread = f"  ({row['min']:.3g} to {row['max']:.3g})" if "min" in row else ""
            value = row["median"]
            shown = value if isinstance(value, str) else f"{value:.3g}"
            print(f"{name:12}{row['what']}: {shown}{spread}", flush=True)
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"machine": machine, "quick": arguments.quick, "results": results}, indent=2)
        )


def _networks(config: RunConfig) -> torch.nn.ModuleDict:
    from client.data import load

    return config.model_component.build(load(config.data).shape, 0)


if __name__ == "__main__":
    main()
