"""The benchmarks run; what they measure is for people to read, never for a test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_quick_benchmarks_run_and_write_their_figures(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "roofline", "scaling", "overhead", "attacks"]
    subprocess.run([*command, "--json", str(tmp_path / "b.json")], cwd=ROOT, check=True, timeout=600)
    results = json.loads((tmp_path / "b.json").read_text())["results"]
    assert [len(results[name]) for name in ("roofline", "scaling", "overhead", "attacks")] == [2, 1, 1, 2 * 3 + 2]
    assert all(row["median"] > 0 for rows in results.values() for row in rows)
