"""docs/own-images.md is followed from top to bottom, as printed, with runs that are shorter."""

import contextlib
import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
import pages
from pages import ROOT

from simulations.commands import main

PAGE = ROOT / "docs" / "own-images.md"
SHORT = (
    "federation.num-rounds=2 local.steps=1 evaluation.num-samples=200 evaluation.final-num-samples=300 "
    "evaluation.utility-num-samples=300"
)
PASSED_OVER = ("needs a download", "goes on until Ctrl-C")


def commands():
    text = PAGE.read_text()
    for reason in PASSED_OVER:
        text = re.sub(rf"<!-- {reason} -->\n```bash\n.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for block in re.findall(r"^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        yield from pages.commands_in(block)


def follow(program, arguments):
    """Returns a command's exit code and what it says; fedgan runs in this process, as each start costs seconds."""
    if program == "python":
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr
    assert program == "fedgan"
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main._run([*arguments, *(["-c", SHORT] if arguments[0] == "simulate" else [])], debug=False)
    return code, said.getvalue()


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """Does what the page says in a new folder, and returns the folder and what each command said."""
    place = tmp_path_factory.mktemp("own")
    for name, text in pages.files(PAGE).items():
        (place / name).write_text(text)
    said = {}
    with contextlib.chdir(place):
        for program, *arguments in commands():
            code, text = follow(program, arguments)
            assert code == 0, f"{shlex.join([program, *arguments])}: {text}"
            said[shlex.join([program, *arguments])] = text
    return place, said


@pytest.mark.slow
def test_the_page_can_be_followed_from_top_to_bottom(followed):
    place, said = followed
    assert len(list((place / "shapes").rglob("*.png"))) == 1800
    assert "32x32, 3 channel(s), 3 class(es)" in said["fedgan data image-folder --root shapes"]
    assert "no labels" in said["fedgan data npz --root unlabelled.npz"]
    for picture in ("split.png", "shapes.png", "unlabelled.png", "triangles/00199-label-2.png"):
        with Image.open(place / picture) as image:
            image.load()


@pytest.mark.slow
def test_scores_are_those_that_the_page_reports_of(followed):
    place, said = followed
    shapes = json.loads((place / "runs" / "shapes" / "summary.json").read_text())["scores"]
    assert {"utility", "fid", "federated-fid"} <= shapes.keys()
    assert "features are those of random-vgg" in said["fedgan simulate shapes.toml --out runs/shapes"]
    unlabelled = json.loads((place / "runs" / "unlabelled" / "summary.json").read_text())["scores"]
    assert "fid" in unlabelled
    assert "utility" not in unlabelled


@pytest.mark.slow
def test_cards_say_whether_there_are_classes(followed):
    place, _ = followed
    assert "class-conditional GAN" in (place / "shapes-generator" / "README.md").read_text()
    assert "circle, square, triangle" in (place / "shapes-generator" / "README.md").read_text()
    assert "unconditional GAN" in (place / "unlabelled-generator" / "README.md").read_text()
