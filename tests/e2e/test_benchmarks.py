"""The benchmarks run; what they measure is for people to read, never for a test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NUMBERS = {"roofline": 2, "scaling": 1, "overhead": 1, "checkpoints": 4, "attacks": 2 * 3 + 2}  # of rows


@pytest.mark.slow
def test_the_quick_benchmarks_run_and_write_their_figures(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", *NUMBERS]
    subprocess.run([*command, "--json", str(tmp_path / "b.json")], cwd=ROOT, check=True, timeout=600)
    results = json.loads((tmp_path / "b.json").read_text())["results"]
    assert [len(results[name]) for name in NUMBERS] == list(NUMBERS.values())
    assert all(row["median"] > 0 for rows in results.values() for row in rows)
