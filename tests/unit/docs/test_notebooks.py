"""The notebooks of the documentation: what they show was made by their cells, and their cells still run."""

import os
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import pages
from pages import ROOT

from common.config import RunConfig

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
IN_CI = {"own-algorithm"}  # the others take their time: FEDGAN_ALL_TESTS=1 runs them too
SHORTER = [
    (r'("federation.num-rounds": )\d+', r"\g<1>2"),
    (r'("local.steps": )\d+', r"\g<1>1"),
    (r'("evaluation.(?:final-)?num-samples": )\d+', r"\g<1>100"),
    (r'("evaluation.every": )\d+', r"\g<1>1"),
]

by_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path, kind):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def test_there_is_one_for_each_thing_to_learn():
    assert {path.stem for path in NOTEBOOKS} == {
        "quickstart", "own-images", "own-algorithm", "own-family", "deployment", "reading-a-run",
    }  # fmt: skip


@by_notebook
def test_outputs_are_stored_without_an_error_or_a_place_of_a_machine(path):
    code = cells(path, "code")
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "execute it again, as a whole"
    assert "error" not in {output.output_type for cell in code for output in cell.outputs}
    text = re.sub(r"[A-Za-z0-9+/=\\n]{200,}", "", path.read_text())  # without pictures
    assert not re.search(r"/tmp/|/root/|/home/(?!you\b)|\x1b|\\u001b", text)
    assert path.stat().st_size < 600_000


@by_notebook
def test_links_lead_somewhere(path):
    for cell in cells(path, "markdown"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", cell.source):
            assert (path.parent / target).is_file(), target


@by_notebook
def test_settings_are_there(path):
    source = "\n".join(cell.source for cell in cells(path, "code"))
    keys = RunConfig.keys()
    sections = {key.partition(".")[0] for key in keys if "." in key}
    found = [key for key in re.findall(r'"([a-z]+\.[a-z-]+)"\s*:', source) if key.partition(".")[0] in sections]
    assert set(found) <= set(keys)


@pytest.mark.parametrize("name", ["own-algorithm", "own-family"])
def test_files_are_those_of_the_page_on_extending(name):
    written = [cell.source for cell in cells(ROOT / "docs" / "notebooks" / f"{name}.ipynb", "code")]
    written = [source.partition("\n") for source in written if source.startswith("%%writefile")]
    page = {Path(file).name: text for file, text in pages.files(ROOT / "docs" / "extending.md").items()}
    assert written
    for head, _, text in written:
        assert text.rstrip() == page[head.split()[1]].rstrip()


@pytest.mark.slow
@by_notebook
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what drives the kernel
def test_cells_run(path, tmp_path, monkeypatch):
    if path.stem not in IN_CI and "FEDGAN_ALL_TESTS" not in os.environ:
        pytest.skip("takes a minute: FEDGAN_ALL_TESTS=1 runs it")
    from simulations.tools.notebooks import execute

    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    text = path.read_text()
    for long, short in SHORTER:
        text = re.sub(long.replace('"', r"\\\""), short.replace('"', r"\\\""), text)
    copy = tmp_path / path.name
    copy.write_text(text)
    (tmp_path / "work").mkdir()
    book = execute(copy, tmp_path / "work")
    assert all(cell.execution_count for cell in book.cells if cell.cell_type == "code")
    assert str(tmp_path) not in nbformat.writes(book)
