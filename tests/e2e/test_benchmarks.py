"""The benchmarks run; what they measure is for people to read, never for a test."""

import subprocess
import sys
from pathlib import Path

import pytest

from simulations.performance.bars import BARS
from simulations.performance.page import read_results
from tests.rarely import RARELY

ROOT = Path(__file__).parents[2]
CHEAP = (
    "roofline",
    "families",
    "step",
    "overhead",
    "aggregation",
    "checkpoints",
    "compression",
    "serve",
    "host",
    "gpu",
)


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "simulations.performance", *map(str, arguments)],
        cwd=ROOT,
        check=False,
        timeout=600,
        text=True,
        capture_output=True,
    )


@pytest.mark.slow
def test_the_quick_benchmarks_run_and_keep_their_figures(tmp_path):
    file = tmp_path / "b.json"
    done = run("--quick", "--json", file, "--only", *CHEAP)
    assert done.returncode == 0, done.stderr
    results = read_results(file)
    assert set(results) == set(CHEAP)
    assert all(result.quick and (result.figures or result.skipped) for result in results.values())
    assert all(len(figure.values) == 1 for result in results.values() for figure in result.figures)
    for bar in BARS:  # those that even a quick run measures are in the figure's unit
        if bar.benchmark in results and (figure := results[bar.benchmark].figure(bar.key)):
            bar.met_by(figure)
    again = run("--quick", "--json", file, "--only", "gpu", "--page", tmp_path / "b.md")
    assert again.returncode == 2
    assert "ran with --quick" in again.stderr
    assert set(read_results(file)) == set(CHEAP), "another run's figures stay"


@pytest.mark.slow
@RARELY
def test_the_quick_benchmark_of_attacks_runs(tmp_path):
    done = run("--quick", "--json", tmp_path / "b.json", "--only", "attacks")
    assert done.returncode == 0, done.stderr
    attacks = read_results(tmp_path / "b.json")["attacks"]
    assert len(attacks.figures) + len(attacks.skipped) == 2 * 3 + 2
