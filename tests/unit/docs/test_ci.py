"""What CI runs: the README's own command, and no check of an extra is skipped without a word."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pages import ROOT, blocks

RUN = (ROOT / ".ci" / "run").read_text()
EXTRAS = {"test", "onnx", "parquet", "privacy", "search", "tensorboard", "docs"}


@pytest.fixture
def lacking(tmp_path):
    """Returns what the function of this name in .ci/run prints for a log of pytest."""
    function = re.search(r"^lacking\(\) \{\n.*?^\}\n", RUN, re.DOTALL | re.MULTILINE)[0]

    def printed(text):
        (tmp_path / "log").write_text(text)
        command = ["bash", "-euo", "pipefail", "-c", f'{function}lacking "$1"', "bash", tmp_path / "log"]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.splitlines()

    return printed


def test_the_readmes_command_installs_the_extras_that_run_on_any_machine():
    (command,) = [block.text for block in blocks(ROOT / "README.md") if "pytest" in block.text]
    assert set(re.search(r"'\.\[([\w,]+)\]'", command)[1].split(",")) == EXTRAS
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) >= EXTRAS


def test_a_test_that_lacks_a_package_of_an_extra_is_found_in_what_pytest_prints(tmp_path, lacking):
    (tmp_path / "test_skips.py").write_text(
        "import pytest\n"
        "def test_of_an_extra(): pytest.importorskip('no_such_module')\n"
        "def test_of_a_program(): pytest.skip('needs nginx')\n"
    )
    command = [sys.executable, "-m", "pytest", "-ra", "-p", "no:schemathesis", "-p", "no:cacheprovider", tmp_path]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60)
    assert "2 skipped" in done.stdout
    (line,) = lacking(done.stdout)
    assert "could not import 'no_such_module'" in line


@pytest.mark.parametrize(
    ("module", "found"), [("onnxruntime", 1), ("pyarrow.parquet", 1), ("tensorboard", 1), ("wandb", 0), ("mlflow", 0)]
)
def test_trackers_of_others_alone_may_be_lacking(lacking, module, found):
    line = f"SKIPPED [2] tests/unit/test_x.py:9: could not import '{module}': No module named '{module}'"
    assert len(lacking(f"PASSED a\n{line}\n3 passed, 2 skipped in 9 s\n")) == found
