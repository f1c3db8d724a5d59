"""Images of many requests in one pass, to the same bytes as alone."""

import json
import os
import shutil
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest
import torch
from torch import nn

from common.errors import ConfigError, DivergenceError
from common.examples import ImageSpec
from common.generation import Mixture
from common.models import MODELS
from server import checkpoint
from server.records import journal, run_directory
from simulations.runs.generator import LoadedGenerator
from simulations.serve import models as models_file
from simulations.serve.batching import Batcher, BusyError, StoppedError
from simulations.serve.library import Library
from simulations.serve.models import ROWS, Models, Network, rows_apart
from tests.unit.kinds import spec_of


class Slow(nn.Module):
    """An image is its first number everywhere; a pass says that it has ``begun`` and waits for ``go``."""

    noise_shape = (2,)
    spec = ImageSpec(1, 28, 10)

    def __init__(self):
        super().__init__()
        self.begun, self.go = threading.Event(), threading.Event()
        self.rows = []

    def forward(self, noise, labels):
        self.begun.set()
        assert self.go.wait(30)
        self.rows.append(int((noise != 0).any(1).sum()))
        return noise[:, :1, None, None].expand(-1, 1, 4, 4)


def network_of(generator, joins=True):
    return Network(LoadedGenerator(generator, ImageSpec(1, 4, 10), None, 1, "", None, tuple(range(10))), joins)


@pytest.fixture
def slow():
    return Slow()


@pytest.fixture
def batcher():
    batcher = Batcher(most_waiting=300)
    yield batcher
    batcher.close()


def noise(num, value=0.5):
    return torch.full((num, 2), value)


def ask(batcher, network, num, value=0.5):
    return batcher.submit(network, noise(num, value), torch.zeros(num, dtype=torch.int64))


def test_requests_that_wait_together_share_a_pass_and_get_their_own_images(batcher, slow):
    network = network_of(slow)
    first = ask(batcher, network, 1, 0.1)
    assert slow.begun.wait(30)  # it is under way; the others wait for it
    others = [ask(batcher, network, 3, k / 10) for k in range(2, 9)]
    slow.go.set()
    for k, future in enumerate([first, *others], start=1):
        expected = round((k / 10 + 1) * 127.5)
        assert future.result(30).unique().tolist() == [expected]
    assert slow.rows == [1, 21]
    assert (batcher.passes, batcher.images, batcher.joined, batcher.waiting) == (2, 22, 1, 0)


def test_a_long_request_lets_others_in_between_its_passes(batcher, slow):
    network = network_of(slow)
    long = ask(batcher, network, 4 * ROWS)
    short, passes = ask(batcher, network, 2), []
    short.add_done_callback(lambda _: passes.append(batcher.passes))
    slow.go.set()
    short.result(30)
    assert passes == [2]  # the first one was full
    assert len(long.result(30)) == 4 * ROWS
    assert len(slow.rows) == 5  # 256 + 2 rows


def test_where_rows_depend_on_each_other_each_request_is_made_alone(batcher, slow):
    network = network_of(slow, joins=False)
    futures = [ask(batcher, network, 2) for _ in range(5)]
    slow.go.set()
    for future in futures:
        future.result(30)
    assert slow.rows == [2] * 5


def test_more_than_may_wait_is_refused_and_a_cancelled_request_makes_room(batcher, slow):
    network = network_of(slow)
    first = ask(batcher, network, 200)
    with pytest.raises(BusyError):
        ask(batcher, network, 101)
    assert first.cancel()
    slow.go.set()
    assert len(ask(batcher, network, 150).result(30)) == 150
    with pytest.raises(CancelledError):
        first.result(0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_images_that_are_not_finite_are_an_error_of_their_own_request_only(batcher, slow, value):
    network = network_of(slow)
    ask(batcher, network, 1)
    assert slow.begun.wait(30)
    bad, good = ask(batcher, network, 2, value), ask(batcher, network, 2)
    slow.go.set()
    with pytest.raises(DivergenceError):
        bad.result(30)
    assert len(good.result(30)) == 2


def test_a_defect_of_a_pass_is_reported_and_the_thread_goes_on(batcher, slow):
    slow.go.set()
    with pytest.raises(RuntimeError):
        batcher.submit(network_of(slow), torch.zeros(2, 0), torch.zeros(2).long()).result(30)
    assert len(ask(batcher, network_of(slow), 2).result(30)) == 2


def test_closing_makes_what_waits_and_takes_nothing_more(slow):
    batcher = Batcher(most_waiting=300)
    waiting = ask(batcher, network_of(slow), 200)
    slow.go.set()
    batcher.close()
    assert len(waiting.result(0)) == 200
    assert not batcher.is_alive
    with pytest.raises(StoppedError):
        ask(batcher, network_of(slow), 1)


@pytest.mark.parametrize("name", list(MODELS))
def test_rows_of_every_model_are_made_alike_in_every_place(name):
    model = MODELS[name](**({"width": 8, "steps": 2} if name == "unet" else {}))
    generator = model.sampler(model.build(spec_of(name), seed=1)).eval()
    assert rows_apart(generator, 10)


def test_networks_that_connect_rows_and_mixtures_are_found_out():
    class Connected(nn.Module):
        noise_shape = (4,)

        def forward(self, noise, labels):
            return torch.tanh(noise - noise.mean(0))[:, :, None, None]

    assert not rows_apart(Connected(), 10)
    generator = MODELS["mlp"]().build(ImageSpec(1, 28, 10), seed=1)["generator"]
    assert not rows_apart(Mixture([generator, generator], torch.ones(2, 10)), 10)


def test_a_model_is_loaded_once_and_again_when_a_newer_checkpoint_lands(trained, tmp_path):
    shutil.copytree(trained / "digits", tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    newest = folder / "round-0003.safetensors"
    aside = newest.rename(tmp_path / "aside")
    record, models = Library(tmp_path / "run").get("run"), Models()
    assert models.get(record, "last", None).trained.round == 2
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: models.get(record, "last", None), range(16)))
    assert (len(found), models.loads) == (1, 1)
    aside.rename(newest)
    assert models.get(record, "last", None).trained.round == 3
    assert models.get(record, 2, None) in found
    assert models.loads == 2
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert models.get(record, 3, None).trained.digest == summary["generator-sha256"]
    newest.write_bytes(b"torn")
    assert models.get(record, "last", None).trained.round == 2  # the last whole one
    with pytest.raises(ConfigError, match="no checkpoint of round 9; rounds with one: 1, 2, 3"):
        models.get(record, 9, None)


def test_of_many_generators_the_least_recently_used_one_is_dropped(trained, monkeypatch):
    monkeypatch.setattr(models_file, "_MOST_LOADED", 2)
    record, models = Library(trained / "digits").get("digits"), Models()
    for round, loads in ((1, 1), (2, 2), (1, 2), (3, 3), (1, 3), (2, 4)):
        assert models.get(record, round, None).trained.round == round
        assert models.loads == loads


def test_checkpoints_are_looked_for_only_where_a_run_has_changed(trained, tmp_path, monkeypatch):
    shutil.copytree(trained / "digits", tmp_path / "run")
    folder, looks = tmp_path / "run" / "checkpoints", []
    record, models = Library(tmp_path / "run").get("run"), Models()
    list_all = checkpoint.list_checkpoints
    monkeypatch.setattr(checkpoint, "list_checkpoints", lambda path: looks.append(1) or list_all(path))

    def settle():
        for path in (folder, tmp_path / "run" / "journal.jsonl"):
            os.utime(path, (time.time() - 60,) * 2)
        looks.clear()

    def requested():
        return [models.get(record, which, None).trained.round for which in ("best", "last")]

    settle()
    assert requested() == [3, 3]
    looks.clear()
    assert requested() == [3, 3]
    assert not looks
    (folder / "round-0003.safetensors").rename(tmp_path / "aside")  # a change of which the time is new
    assert requested() == [2, 2]
    settle()
    assert requested() == [2, 2]
    (tmp_path / "aside").rename(folder / "round-0003.safetensors")
    assert requested() == [3, 3]


def test_the_best_round_is_that_of_the_journal(trained, tmp_path):
    shutil.copytree(trained / "digits", tmp_path / "run")
    run = run_directory.RunDirectory(tmp_path / "run")
    lines = [
        row | {"scores": {"fid": fid}} for row, fid in zip(journal.read(run.journal), (9.0, 3.0, 5.0), strict=True)
    ]
    run.journal.write_text("".join(json.dumps(row) + "\n" for row in lines))
    record = Library(run.path).get("run")
    assert Models().get(record, "best", None).trained.round == 2
    with pytest.raises(ConfigError, match="checkpoint of round 3"):  # clients' own ones have no fid, so the last
        Models().get(record, "best", 1)
    assert len(checkpoint.list_checkpoints(run.checkpoints)) == 3
