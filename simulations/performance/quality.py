"""Seconds to a quality, federated against centralised."""

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from client.data import load
from common.config import RunConfig, Scalar
from common.metrics.classifier_score import SCORE
from common.metrics.utility import UTILITY
from common.threads import available_cores
from server import checkpoint
from server.evaluation.evaluator import Evaluator
from server.records import journal
from server.records.run_directory import RunDirectory
from simulations.benchmark.protocols import CENTRALISED
from simulations.performance.figures import ROOT, Figure, Measured, Plan, Skipped
from simulations.runs.generator import load_trained

GOALS = {SCORE.name: 9.0, UTILITY.name: 0.9}

FEDERATED: dict[str, Scalar] = {"partition": "shards per-client=4", "federation.num-clients": 10}

_UNSCORED: dict[str, Scalar] = {
    "evaluation.every": 0,
    "evaluation.federated": False,
    "evaluation.final-num-samples": 100,
    "evaluation.utility-num-samples": 10_000,
    "output.keep-checkpoints": 1000,
    "output.checkpoint-seconds": 0.0,  # one a round, whose times are read
    "output.sample-every": 1000,
}


def quality(plan: Plan) -> Measured:
    """Seconds from the command to a quality, with 10 clients of 4 shards each, against one client with all images.

    On the same cores: centralised training has two intra-op threads there. Generators are scored after the run, so the
    seconds have no scores in them; a value a seed.
    """
    found: dict[str, list[tuple[float, float]]] = {goal: [] for goal in GOALS}
    missed: dict[str, int] = dict.fromkeys(GOALS, 0)
    for seed in range(plan.times):
        sides = [_seconds_to_goals(plan, changes, seed) for changes in (_federated(plan), _centralised(plan))]
        for goal in GOALS:
            ours, theirs = (side[goal] for side in sides)
            if ours is None or theirs is None:
                missed[goal] += 1
            else:
                found[goal].append((ours, theirs))
    for goal, pairs in found.items():
        name = f"{goal} {GOALS[goal]:g}"
        if missed[goal]:
            which = f"{missed[goal]} of {plan.times} seeds"
            yield Skipped(what=f"{name}, {which}", why="not reached within the rounds of both runs")
        if pairs:
            values = tuple(ours / theirs for ours, theirs in pairs)
            yield Figure(key=goal, what=f"federated time to {name}, over centralised", values=values)
            for side, kind in enumerate(("federated", "centralised")):
                values = tuple(pair[side] for pair in pairs)
                yield Figure(key=f"{goal}-{kind}", what=f"seconds to {name}, {kind}", values=values, unit="s")


def _federated(plan: Plan) -> dict[str, Scalar]:
    """As a run that is to get there soon: rates fall over the quickstart's rounds."""
    return {**FEDERATED, "federation.num-rounds": 2} if plan.quick else FEDERATED


def _centralised(plan: Plan) -> dict[str, Scalar]:
    """One client with as many images a step and two intra-op threads on two cores; its own settings, as it needs."""
    base = RunConfig()
    return {
        **CENTRALISED,
        "partition": "pooled",
        "federation.num-clients": 1,
        "federation.num-rounds": 2 if plan.quick else 2 * base.federation.num_rounds,
        "local.steps": base.local.steps * 2,
        "local.num-threads": available_cores(),
    }


def _seconds_to_goals(plan: Plan, changes: Mapping[str, Scalar], seed: int) -> dict[str, float | None]:
    """Runs one side from a cold start, and returns the seconds to the first round that reaches each goal."""
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder) / "run")
        tiny: dict[str, Scalar] = {"local.steps": 1, "evaluation.utility-num-samples": 100} if plan.quick else {}
        config = RunConfig().replaced({**_UNSCORED, **changes, **tiny, "seed": seed, "output.dir": str(run.path)})
        file = Path(folder) / "config.toml"
        file.write_text(config.toml(), encoding="utf-8")
        command = [sys.executable, "-m", "simulations.commands.main", "simulate", str(file)]
        begun = time.time()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
        lines = journal.read(run.journal)
        ends = [path.stat().st_mtime - begun for path in checkpoint.list_checkpoints(run.checkpoints)]
        rounds = [int(line["round"]) for line in lines]
        evaluator = Evaluator(config, load(config.data))
        return {goal: _first(evaluator, run, goal, rounds, ends, plan) for goal in GOALS}


def _first(
    evaluator: Evaluator, run: RunDirectory, goal: str, rounds: list[int], ends: list[float], plan: Plan
) -> float | None:
    """Returns the seconds at which a run's first good enough generator was saved.

    Every fourth is scored until one is good enough, then the three before it.
    """

    def reaches(position: int) -> bool:
        generator = load_trained(run.path, rounds[position]).generator
        scores = evaluator.score(generator, [goal], 100 if plan.quick else 2000)
        value = scores[goal]
        return plan.quick or (isinstance(value, float) and value >= GOALS[goal])

    coarse = [*range(3, len(rounds), 4)] or [len(rounds) - 1]
    good = next((position for position in coarse if reaches(position)), None)
    if good is None:
        return None
    before = itertools.takewhile(lambda position: position < good, range(max(0, good - 3), good))
    return ends[next((position for position in before if reaches(position)), good)]
