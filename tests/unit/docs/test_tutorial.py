"""docs/tutorial.md is followed from top to bottom, as printed, but for shorter runs and ports that are free."""

import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
import pages
from pages import ROOT

from simulations.commands import main
from tests.rarely import RARELY

PAGE = ROOT / "docs" / "tutorial.md"
INSTALLS, STAYS = "not in the test: it is installed there", "each in a terminal of its own"
SHORTER = {"simulate": "federation.num-rounds=1 local.steps=1 evaluation.final-num-samples=100 "
           "evaluation.num-samples=100 evaluation.utility-num-samples=0"}  # fmt: skip
PORTS = ("8100", "9100", "9101", "9102")


def free_ports(number):
    with contextlib.ExitStack() as open_ones:
        sockets = [open_ones.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [str(one.getsockname()[1]) for one in sockets]


def follow(words):
    """Returns what a command says; fedgan runs in this process, as each start costs seconds."""
    program, *arguments = words
    if program == "python":
        return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True).stdout
    assert program == "fedgan"
    if arguments[0] == "simulate" and "--dry-run" not in arguments:
        arguments += ["-c", SHORTER["simulate"]]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main._run(arguments, debug=False)
    assert code == 0, f"{words}: {said.getvalue()}"
    return said.getvalue()


def await_listener(port, log):
    """Waits, as who types the next command does, until the SuperLink listens."""
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(port)), timeout=1):
            return
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """Does what the page says in a new folder; returns the folder, and what each command of fedgan said."""
    place, said, running = tmp_path_factory.mktemp("tutorial"), {}, []
    changed = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    text = re.sub("|".join(PORTS), lambda match: changed[match[0]], PAGE.read_text())
    text = re.sub(rf"<!-- {INSTALLS} -->\n```bash\n.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    files = {name: re.sub("|".join(PORTS), lambda m: changed[m[0]], file) for name, file in pages.files(PAGE).items()}
    home = {
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
        "FLWR_HOME": str(place / "flwr"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    (place / "flwr").mkdir()
    for name, file in files.items():
        (place / ("flwr" if name == "config.toml" else ".") / name).write_text(file)
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(place):
        for name, value in home.items():
            patch.setenv(name, value)
        patch.setenv("PYTHONPATH", str(ROOT))
        try:
            for stays, block in re.findall(
                rf"(<!-- {STAYS} -->\n)?^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE
            ):
                for words in pages.commands_in(block.replace("$PWD", str(place))):
                    if stays:
                        with (place / f"log-{len(running)}").open("wb") as log:
                            running.append(
                                subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
                            )
                    else:
                        if words[:2] == ["fedgan", "submit"]:
                            await_listener(changed[PORTS[0]], place / "log-0")
                        said[" ".join(words[1:3])] = follow(words)
        finally:
            for process in reversed(running):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
            for process in running:
                process.wait(60)
    return place, said


@pytest.mark.slow
@RARELY
def test_the_tutorial_can_be_followed_from_top_to_bottom(followed):
    place, said = followed
    assert "700" in said["data image-folder"].replace("560 training and 140", "700")
    assert "privacy: example epsilon=10.0 delta=1e-05" in said["simulate private.toml"]
    assert len(list((place / "sites").rglob("*.png"))) == 2200
    for picture in ("first.png", "shapes.png"):
        with Image.open(place / picture) as image:
            image.load()
    assert json.loads(said["inspect shapes.png"])["run"] == "private"


@pytest.mark.slow
@RARELY
def test_each_site_took_part_with_its_own_folder_and_kept_the_promise(followed):
    place, said = followed
    clients = json.loads((place / "runs" / "private" / "partition.json").read_text())["clients"]
    assert {client["site"] for client in clients} == {"north", "south", "west"}
    assert sorted(client["num-examples"] for client in clients) == [560, 560, 640]
    spent = json.loads((place / "runs" / "private" / "summary.json").read_text())["privacy"]
    assert 9 < spent["epsilon"] <= 10
    assert "epsilon" in said["privacy runs/private"]


@pytest.mark.slow
@RARELY
def test_the_private_generator_draws_the_classes_apart(followed):
    """A triangle of this script is darkest at its upper corners, and a square is not: no look at pixels is needed."""
    place, _ = followed
    made = place / "made.npz"
    assert (
        main._run(["generate", str(place / "runs/private"), "--num", "60", "--balanced", "--out", str(made)], False)
        == 0
    )
    with np.load(made) as arrays:
        images, labels = arrays["images"].astype(float), arrays["labels"]
    corner = [images[labels == label][:, 7:11, 7:11].mean() for label in range(3)]
    assert corner[1] > 1.5 * corner[2]  # square, triangle
