"""Whoever installs the wheel, and has no checkout, has everything: commands, presets, data, the page, Flower's app."""

import io
import json
import os
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from pathlib import Path

import pytest

from tests.archives import SAFELY

ROOT = Path(__file__).parents[2]
TINY = (
    'model="mlp width=16 latent-size=8" partition="shards per-client=2 examples-per-client=40" '
    "federation.num-clients=2 federation.num-rounds=2 local.steps=2 local.batch-size=8 evaluation.every=0 "
    'evaluation.num-samples=100 evaluation.final-num-samples=100 evaluation.extractor="none" '
    "evaluation.utility-num-samples=0"
)


def run(command, **options):
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Returns a folder into which pip has installed the wheel that is made of the sdist, and nothing else."""
    pytest.importorskip("hatchling", reason="what builds the wheel")
    place = tmp_path_factory.mktemp("built")
    run([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", place], cwd=ROOT)
    (sdist,) = place.glob("*.tar.gz")
    with tarfile.open(sdist) as packed:
        packed.extractall(place, **SAFELY)
    run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", place],
        cwd=sdist.with_suffix("").with_suffix(""),
    )
    (wheel,) = place.glob("*.whl")
    target = place / "installed"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--no-deps",
        "--no-index",
        "--no-compile",
    ]
    run([*pip, "--target", target, wheel])
    return target


@pytest.fixture
def outside(installed, tmp_path, monkeypatch):
    """Returns a maker of processes that see the installed fedgan alone, in a folder that is no checkout."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    env |= {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "", "FLWR_HOME": str(tmp_path)}
    return lambda *words: run([sys.executable, *words], cwd=tmp_path, env=env)


@pytest.mark.slow
def test_every_file_of_the_packages_that_git_keeps_is_installed(installed):
    kept = {path for name in ("client", "common", "server", "simulations") for path in (ROOT / name).rglob("*")}
    names = {path.relative_to(ROOT) for path in kept if path.is_file() and "__pycache__" not in path.parts}
    assert len(names) > 400
    assert [name for name in sorted(names) if not (installed / name).is_file()] == []


@pytest.mark.slow
def test_the_script_starts_outside_of_the_checkout(installed, outside, tmp_path):
    said = outside(installed / "bin" / "fedgan", "--version")
    assert said.startswith("fedgan 0.")


@pytest.mark.slow
def test_the_quickstart_and_what_follows_it_need_no_checkout(installed, outside, tmp_path):
    """In one process, as each start costs seconds."""
    script = tmp_path / "commands.py"
    script.write_text(
        textwrap.dedent("""
        import json, sys
        from simulations.commands import main
        for words in json.load(open("commands.json")):
            code = main._run(words, debug=True)
            print("exit code", code, words[0], flush=True)
        import common, simulations
        print(common.__file__, simulations.__file__)
        """)
    )
    commands = [
        ["simulate", "quickstart", "--out", "run", "-c", TINY],
        ["simulate", "t1", "--dry-run"],
        ["generate", "run", "--num", "4", "--out", "four.png"],
        ["inspect", "four.png"],
        ["evaluate", "run", "--metrics", "score", "--num", "100"],
        ["partition", "-c", TINY],
        ["export", "run", "--to", "safetensors", "--out", "exported"],
        ["components"],
        ["config"],
        ["data"],
        ["runs", "list", "."],
        ["privacy", "run"],
        ["benchmark", "P1", "--dry-run", "--out", "bench"],
        ["certificates", "keys", "--host", "localhost", "--sites", "1"],
        ["completion", "bash"],
        ["app", "app"],
        *([command, "--help"] for command in ("serve", "submit", "sites", "audit", "results", "track")),
    ]
    (tmp_path / "commands.json").write_text(json.dumps(commands))
    said = outside("commands.py").splitlines()
    codes = [line for line in said if line.startswith("exit code")]
    assert codes == [f"exit code 0 {words[0]}" for words in commands]
    assert said[-1] == f"{installed / 'common/__init__.py'} {installed / 'simulations/__init__.py'}"
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    assert (tmp_path / "app" / "pyproject.toml").read_bytes() == (ROOT / "pyproject.toml").read_bytes()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # of Flower
def test_flower_is_sent_the_same_bundle_without_a_checkout_as_with_one(outside, tmp_path):
    from flwr.cli.build import build_fab_from_disk

    copied = "with flower_app() as app: shutil.copytree(app, 'app')"
    outside("-c", f"import shutil; from simulations.deployment.flower_app import flower_app\n{copied}")

    def bundle(folder):
        with zipfile.ZipFile(io.BytesIO(build_fab_from_disk(folder))) as packed:
            return {name: packed.read(name) for name in packed.namelist() if not name.startswith(".info")}

    with_one = bundle(ROOT)
    assert "client/app.py" in with_one
    assert bundle(tmp_path / "app") == with_one
