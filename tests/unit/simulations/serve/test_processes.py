"""Images of processes of their own: the bytes, refusals and counts of threads; and what happens when one dies."""

import asyncio
import gc
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import torch

from common.examples import ImageSpec
from common.generation import Mixture, balanced_labels
from common.models import MODELS
from simulations.runs.generator import load_trained
from simulations.serve import processes as processes_file
from simulations.serve.generation import BatchGenerator, Counts
from simulations.serve.library import Library
from simulations.serve.links import Link
from simulations.serve.models import Models, Network
from simulations.serve.processes import KnownNetworks, RemoteGenerator
from tests.unit.kinds import spec_of
from tests.unit.simulations.serve.conftest import listening

GENERATE = "/api/runs/digits/generate"


@pytest.fixture(scope="module")
def apart(trained):
    with listening(trained, in_processes=True) as client:
        client.post(GENERATE, json={}, timeout=120)  # which waits until they have begun, on a busy machine for long
        yield client


def children(client):
    return {process.name: process.pid for process in client.service.making._processes if process.pid}


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(holds, seconds=30):
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "npz", "zip"])
def test_processes_send_the_bytes_that_threads_send(client, apart, format):
    requested = {
        "num": 70,
        "labels": [1, 2, 7],
        "seed": 5,
        "format": format,
        "keep": 0.5,
        "resize": {"width": 9, "height": 40},
    }
    for request in (requested, {"num": 2, "format": format}, {"noise": [[0.5] * 8], "format": format, "round": 2}):
        there, here = apart.post(GENERATE, json=request), client.post(GENERATE, json=request)
        assert there.status_code == 200, there.text
        assert there.content == here.content
        assert {k: v for k, v in there.headers.items() if k != "date"} == {
            k: v for k, v in here.headers.items() if k != "date"
        }


@pytest.mark.slow
def test_processes_refuse_in_the_words_of_threads(client, apart):
    for requested in ({"num": 10**5}, {"labels": [10]}, {"round": 77}, {"client": 1}, {"format": "txt"}, {"num": 4097}):
        there, here = apart.post(GENERATE, json=requested), client.post(GENERATE, json=requested)
        assert (there.status_code, there.json()) == (here.status_code, here.json())


@pytest.mark.slow
def test_requests_share_passes_in_the_process_and_are_counted_here(apart):
    def figure(name):
        return float(re.search(rf"^{name}(?:_total)? (\S+)$", apart.get("/metrics").text, re.M)[1])

    alone = [apart.post(GENERATE, json={"num": 3, "seed": k}).content for k in range(16)]
    made, joined = figure("fedgan_images"), figure("fedgan_joined_passes")
    with ThreadPoolExecutor(16) as pool:
        together = pool.map(lambda k: apart.post(GENERATE, json={"num": 3, "seed": k}).content, range(16))
        assert list(together) == alone
    assert figure("fedgan_images") == made + 48
    assert figure("fedgan_joined_passes") > joined
    assert figure("fedgan_model_loads") >= 1
    assert figure("fedgan_waiting_images") == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["generator", "encoders"])
def test_a_process_that_dies_is_replaced_and_what_was_under_way_is_answered_so(apart, monkeypatch, caplog, name):
    monkeypatch.setattr(processes_file, "_REST", 0.0)
    before = apart.post(GENERATE, json={"num": 3}).content
    known = children(apart)
    os.kill(known["generator"], signal.SIGSTOP)  # so that a request is under way for as long as it takes
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(apart.post, GENERATE, json={"num": 3})
        wait_until(lambda: "fedgan_waiting_images 3.0" in apart.get("/metrics").text)
        os.kill(known[name], signal.SIGKILL)
        os.kill(known["generator"], signal.SIGCONT)
        answer = waiting.result()
    assert answer.status_code == 503
    assert "the process that makes images has ended" in answer.json()["detail"]
    assert answer.headers["retry-after"] == "5"
    wait_until(lambda: set(children(apart).values()).isdisjoint(known.values()))
    assert apart.post(GENERATE, json={"num": 3}).content == before
    assert apart.get("/healthz").status_code == 200
    assert not any(map(is_there, known.values()))
    assert f"{name}: exit code -9" in caplog.text


@pytest.mark.slow
def test_processes_that_die_at_once_are_not_begun_again_and_again(trained, monkeypatch):
    monkeypatch.setattr(processes_file, "run_encoders", os.abort)  # which takes other arguments, and fails
    with listening(trained, in_processes=True) as client:
        wait_until(lambda: client.get("/healthz").status_code == 503)
        answer = client.post(GENERATE, json={})
        assert (answer.status_code, "has ended" in answer.json()["detail"]) == (503, True)
        assert client.get("/api/runs").status_code == 200
        monkeypatch.undo()
        monkeypatch.setattr(processes_file, "_REST", 0.0)
        assert client.post(GENERATE, json={}).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_server(trained, number):
    command = [sys.executable, "-m", "simulations.commands.main", "serve", str(trained), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        place = re.search(r"http://\S+:\d+", process.stderr.readline())[0]
        assert httpx.post(f"{place}{GENERATE}", json={}, timeout=60).status_code == 200
        os.kill(process.pid, signal.SIGSTOP)  # while its session is looked at
        family = members(process.pid)
        os.kill(process.pid, signal.SIGCONT)
        assert len(family) >= 3
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as Ctrl-C is sent: to all of them
        else:
            process.send_signal(number)
        process.wait(20)
    wait_until(lambda: not members(process.pid))


def members(session):
    """Returns the processes of a session that have not ended."""
    found = subprocess.run(["ps", "-o", "pid=,stat=", "-s", str(session)], capture_output=True, text=True, check=False)
    return [int(row.split()[0]) for row in found.stdout.splitlines() if "Z" not in row.split()[1]]


def test_a_network_is_sent_once_and_forgotten_when_it_is_no_longer_in_use(trained):
    async def main():
        sent = []
        known = KnownNetworks(BatchGenerator(1000, Counts()))

        async def answer(*arguments):
            sent.append(arguments[:3])
            return await known.make(*arguments)

        caller = Link()
        for link, end in zip((caller, Link(answer)), socket.socketpair(), strict=True):
            await link.connect(end)
        remote, models = RemoteGenerator(caller), Models()
        network = models.get(Library(trained / "digits").get("digits"), "last", None)
        rows = torch.randn(3, network.noise_size), torch.tensor([1, 2, 3])
        made = [await remote.make(network, rows) for _ in range(2)]
        assert torch.equal(made[0], network.make(*rows)[0])
        assert torch.equal(*made)
        assert [bool(new) for _, _, new in sent] == [True, False]
        assert sent[0][2].trained.adversary is None
        other = Network(load_trained(trained / "digits", 1), joins=True)
        del network, models
        gc.collect()
        await remote.make(other, rows)
        assert sent[2][:2] == ([0], 1)
        assert list(known._networks) == [1]
        known._generator.batcher.close()
        caller.close()

    asyncio.run(main())


@pytest.mark.parametrize("name", list(MODELS))
def test_every_sampler_can_be_sent_to_another_process(name):
    model = MODELS[name](**({"width": 8, "steps": 2} if name == "unet" else {}))
    sampler = model.sampler(model.build(spec_of(name), seed=1)).eval()
    noise, labels = torch.randn(2, *sampler.noise_shape), balanced_labels(2, 10)
    with torch.inference_mode():
        assert torch.equal(pickle.loads(pickle.dumps(sampler))(noise, labels), sampler(noise, labels))


def test_a_mixture_can_be_sent_to_another_process():
    model = MODELS["mlp"]()
    members = [model.sampler(model.build(ImageSpec(1, 28, 10), seed=seed)).eval() for seed in (1, 2)]
    mixture = Mixture(members, torch.ones(2, 10))
    noise, labels = torch.randn(5, *mixture.noise_shape), balanced_labels(5, 10)
    with torch.inference_mode():
        assert torch.equal(pickle.loads(pickle.dumps(mixture))(noise, labels), mixture(noise, labels))
