"""``fedgan serve`` and ``fedgan inspect`` as a script sees them."""

import json
import re
import signal
import socket
import subprocess
import sys

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from common.examples.images import tile
from common.generation import generate
from server.records.run_directory import RunDirectory
from simulations.commands import main
from simulations.runs.generator import load_trained
from simulations.serve.generate_requests import GenerateRequest
from simulations.serve.images import Made, encode
from tests.unit.simulations.serve.test_images import FACTS, made


def fedgan(*arguments, capsys):
    code = main._run([str(argument) for argument in arguments], debug=False)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_inspect_prints_what_a_file_says_of_itself(tmp_path, capsys):
    source = made(3)
    path = tmp_path / "file.png"
    path.write_bytes(encode(Made(source.images[:1], [4], [0], FACTS), GenerateRequest()))
    code, out, _ = fedgan("inspect", path, capsys=capsys)
    assert (code, json.loads(out)) == (0, FACTS | {"label": 4, "index": 0})


def test_inspect_fails_where_a_file_says_nothing(tmp_path, capsys):
    path = tmp_path / "file.txt"
    path.write_text("nothing")
    assert fedgan("inspect", path, capsys=capsys)[0] == 2
    code, _, err = fedgan("inspect", tmp_path / "none.png", capsys=capsys)
    assert (code, "no such file" in err) == (2, True)
    code, _, err = fedgan("inspect", tmp_path, capsys=capsys)
    assert (code, "is a folder" in err) == (2, True)
    Image.new("L", (2, 2)).save(tmp_path / "plain.png")
    code, _, err = fedgan("inspect", tmp_path / "plain.png", capsys=capsys)
    assert (code, "only files of fedgan do" in err) == (2, True)


def test_inspect_reads_the_samples_of_a_run_and_they_can_be_made_again(trained, capsys):
    run = RunDirectory(trained / "digits")
    code, out, _ = fedgan("inspect", run.sample(3), capsys=capsys)
    printed = json.loads(out)
    assert code == 0
    found = load_trained(run.path)
    assert (printed["run"], printed["round"], printed["model-sha256"]) == ("digits", 3, found.digest)
    images = generate(found.generator, torch.tensor(printed["labels"]), printed["seed"])
    assert np.array_equal(Image.open(run.sample(3)), tile(images, 10))


def test_an_address_that_others_reach_needs_a_token(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("FEDGAN_TOKEN", raising=False)
    code, _, err = fedgan("serve", tmp_path, "--host", "0.0.0.0", capsys=capsys)
    assert (code, "needs a --token" in err) == (2, True)
    code, _, err = fedgan("serve", tmp_path, "--token", "short", capsys=capsys)
    assert (code, "16 characters" in err) == (2, True)


def test_a_folder_that_is_not_there_and_a_port_in_use_are_said(tmp_path, capsys):
    code, _, err = fedgan("serve", tmp_path / "none", capsys=capsys)
    assert (code, "is no folder" in err) == (2, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = fedgan("serve", tmp_path, "--port", port, capsys=capsys)
    assert code == 2
    assert f"--host 127.0.0.1 --port {port} cannot be had: Address already in use; take another --port" in err
    code, _, err = fedgan("serve", tmp_path, "--host", "no.such.host.invalid", "--token", "x" * 16, capsys=capsys)
    assert (code, "--host no.such.host.invalid" in err) == (2, True)


@pytest.mark.parametrize("seconds", ["nan", "inf", "-inf", "0", "-3", "soon"])
def test_a_timeout_that_is_no_time_is_refused(tmp_path, capsys, seconds):
    code, _, err = fedgan("serve", tmp_path, "--timeout", seconds, capsys=capsys)
    assert (code, "--timeout" in err, seconds in err) == (2, True, True)


def test_other_commands_do_not_wait_for_what_serving_takes():
    heavy = "{'fastapi', 'uvicorn', 'PIL', 'torch'} & set(sys.modules)"
    code = f"import sys; from simulations.commands import main; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_ends_streams_and_the_server(trained, number, code, request):
    command = [sys.executable, "-m", "simulations.commands.main", "serve", str(trained), "--port", "0"]
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would not hear it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, earlier))
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        place = re.search(r"http://\S+:\d+", process.stderr.readline())[0]
        with httpx.stream("GET", f"{place}/api/runs/digits/journal", headers={"Accept": "text/event-stream"}) as answer:
            lines = answer.iter_lines()
            for _ in range(3):
                assert any(text.startswith("event: round") for text in lines)
            process.send_signal(number)
            assert not any(text.startswith("event: round") for text in lines)  # and it ends
        assert process.wait(20) == code
