"""What all tests share: one thread a process, no telemetry, and a small federation."""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
os.environ["FEDGAN_CACHE"] = ""  # nothing from another run, and nothing in this user's home

import hypothesis
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import watchdog

from common.config import RunConfig
from server.app import run_federation
from server.records import journal, plots, report, run_directory
from server.records.run_directory import RunDirectory

torch.set_num_threads(1)
# The same examples everywhere, and no time limit on one: machines are shared.
hypothesis.settings.register_profile("fedgan", deadline=None, derandomize=True)
hypothesis.settings.load_profile("fedgan")

SMALL = {
    "model": "mlp width=16 latent-size=8",
    "partition": "shards per-client=2 examples-per-client=40",
    "federation.num-clients": 4,
    "federation.num-rounds": 3,
    "local.steps": 2,
    "local.batch-size": 8,
    "local.schedule": "constant",
    "evaluation.every": 0,
    "evaluation.num-samples": 100,
    "evaluation.final-num-samples": 100,
    "evaluation.extractor": "none",
    "evaluation.utility-num-samples": 0,
    "output.checkpoint-every": 1,
    "output.checkpoint-seconds": 0.0,
}


TEXT = {
    "data.name": "shakespeare context=16 min-characters=43000",  # three roles
    "partition": "by-source examples-per-client=40",
    "federation.num-clients": 3,
    "model": "lstm layers=1 width=8 embedding=4",
    "objective": "next-token label-smoothing=0.1 dropout=0.1",
    "optimiser": "adamw",
}
"""What makes of a ``small`` federation one that learns to write."""

COUNTS = {
    **TEXT,
    "federation.num-rounds": 1,
    "model": "ngram order=3",
    "objective": "next-token",
    "algorithm": "count-sums",
}
"""What makes of it one that adds up counts of n-grams."""


def run_on(grid, config):
    """Runs a federation on a grid, closes it, and returns the run directory."""
    directory = RunDirectory(run_directory.resolve(config.output.dir).path)
    try:
        run_federation(config, directory, grid)
    finally:
        grid.close()
    return directory


def pytest_configure(config):
    """Has everything that tests start end with them, however they end."""
    config.watchdog = watchdog.watch()  # its pipe closes with this process


@pytest.fixture
def happened():
    """Returns what gives the events of a run's journal but those on its scores, which small runs always have."""

    def events(run):
        return [line for line in journal.events(run.journal) if line["event"] not in ("not-scored", "features")]

    return events


@pytest.fixture
def no_reports(request, monkeypatch):
    """Draws no report of a run, which takes longer than a small run, but in tests marked ``report``."""
    if request.node.get_closest_marker("report") is None:
        monkeypatch.setattr(report, "write_report", lambda run: run.report.touch() or run.report)
        monkeypatch.setattr(plots, "draw_partition", lambda summary, path: None)


@pytest.fixture
def small(tmp_path):
    """Returns a maker of configurations of a federation that trains in a moment, each in its own folder."""

    def make(name="run", **changes):
        values = SMALL | {"output.dir": str(tmp_path / name)} | {k.replace("__", "."): v for k, v in changes.items()}
        return RunConfig.from_flat({k.replace("_", "-"): v for k, v in values.items()})

    return make
