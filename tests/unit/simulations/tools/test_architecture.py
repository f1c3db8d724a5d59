"""The architecture's page is made from the code, and the committed one is up to date."""

import pytest

from simulations.tools import architecture


def write(root, files):
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Has a project of six files: an application over two packages, of which one imports the other."""
    files = {
        "common/tree.py": '"""Trees of ``Tensor``.\n\nMore words."""\n',
        "server/__init__.py": '"""The server."""\n',
        "server/app.py": '"""The app."""\nfrom server.high import run\nfrom server.low import names\ndef main(): ...\n',
        "server/high/__init__.py": '"""The upper package."""\n',
        "server/high/run.py": '"""Runs."""\nimport common.tree\nfrom server.low import names\nimport server.words\n',
        "server/low/names.py": '"""Names."""\n\nclass Name:\n    def of(self):\n        import server.words\n',
        "server/words.py": '"""Words."""\n',
    }
    write(tmp_path, files)
    monkeypatch.setattr(architecture, "ROUND", "It starts in [[server/app.py main]], see [[common/tree.py]].\n")
    return tmp_path


def made(root):
    return architecture.page(architecture.read_modules(root))


def test_the_committed_page_is_what_the_command_writes():
    made = architecture.page(architecture.read_modules())
    assert architecture.PAGE.read_text(encoding="utf-8") == made, "run: python -m simulations.tools.architecture"


def test_each_file_has_a_line_from_its_docstring(small):
    text = made(small)
    assert "- [`tree.py`](../common/tree.py): Trees of `Tensor`.\n" in text
    assert "#### server/high\n\nThe upper package.\n\n- [`run.py`](../server/high/run.py): Runs.\n" in text


def test_arrows_are_the_imports_without_those_that_follow(small):
    layers, server = (block.partition("```")[0] for block in made(small).split("```mermaid\n")[1:])
    boxes = dict(line.strip().removesuffix('"]').split('["') for line in server.splitlines() if "[" in line)
    arrows = {
        tuple(boxes[end] for end in line.split(" --> "))
        for line in map(str.strip, server.splitlines())
        if "-->" in line
    }
    assert arrows == {("app.py", "high/"), ("high/", "low/"), ("low/", "words.py")}
    assert "n2 --> n0" in layers  # the server imports common


def test_circles_keep_their_arrows(small):
    write(small, {"server/low/back.py": '"""Imports upwards."""\nfrom server.high import run\n'})
    assert made(small).count("-->") == 1 + 4 + 1  # between layers; app, high, low and back again


def test_the_path_of_a_round_links_to_files_and_names_that_are_there(small, monkeypatch):
    assert "It starts in [`main`](../server/app.py), see [`common/tree.py`](../common/tree.py)." in made(small)
    monkeypatch.setattr(architecture, "ROUND", "[[server/low/names.py Name.of]]")
    assert "[`Name.of`](../server/low/names.py)" in made(small)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[server/gone.py]]", "server/gone.py, which is not there"),
        ("[[server/app.py begin]]", "begin, which server/app.py"),
    ],
)
def test_a_path_of_a_round_that_is_out_of_date_is_refused(small, monkeypatch, text, words):
    monkeypatch.setattr(architecture, "ROUND", text)
    with pytest.raises(ValueError, match=words):
        made(small)
