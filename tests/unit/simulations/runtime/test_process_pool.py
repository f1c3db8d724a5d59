"""Clients in processes of their own: the bits of threads, true reasons, and nobody left behind."""

import gc
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from common import wire
from common.errors import FederationError
from common.tree import FrozenTree, digest
from server import checkpoint
from server.records import journal
from server.records.run_directory import RunDirectory
from simulations.runtime import process_pool as module
from simulations.runtime import shared_memory
from simulations.runtime.in_process import simulate
from simulations.runtime.shared_memory import Shared
from tests.rarely import RARELY

pytestmark = [pytest.mark.usefixtures("no_reports"), pytest.mark.slow]


def directory_of(config):
    return RunDirectory(Path(config.output.dir))


def kept_by(config):
    """Returns digests of all that a run keeps: the server's state and the clients'."""
    snapshot = checkpoint.latest(directory_of(config).checkpoints).snapshot
    state = snapshot.state
    trees = {"parameters": state.parameters, "average": state.average, **state.slots}
    trees |= {f"client-{k}/{name}": tree for k, kept in snapshot.clients.items() for name, tree in kept.items()}
    return {name: digest(tree) for name, tree in trees.items()}


@pytest.fixture
def begun(monkeypatch):
    """Returns the worker processes that a test has begun; none may be alive at its end."""
    found, folders = [], []
    begin, new_folder = module.Processes._begin, module.new_folder

    def watched(self):
        worker = begin(self)
        found.append(worker.process)
        return worker

    monkeypatch.setattr(module.Processes, "_begin", watched)
    monkeypatch.setattr(module, "new_folder", lambda: folders.append(new_folder()) or folders[-1])
    yield found
    assert [process.poll() is not None for process in found] == [True] * len(found)
    assert [folder.exists() for folder in filter(None, folders)] == [False] * len([*filter(None, folders)])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        pytest.param({"local__moments": "keep", "federation__fraction": 0.7}, marks=RARELY),
        pytest.param({"algorithm": "scaffold"}, marks=RARELY),
        {"algorithm": "md-gan", "local__moments": "keep"},
        pytest.param({"transforms": "compress"}, marks=RARELY),
        pytest.param({"evaluation__extractor": "mnist-cnn", "data__name": "mnist-10k"}, marks=RARELY),
    ],
    ids=str,
)
def test_processes_and_threads_keep_the_same_bits_whoever_trains_which_client(small, begun, changes):
    one, other = (small(name, **changes) for name in ("threads", "processes"))
    simulate(one, num_workers=1)
    assert not begun
    simulate(other, num_workers=2, engine="processes")
    assert len(begun) == 2
    assert kept_by(one) == kept_by(other)
    ours, theirs = (journal.read(directory_of(config).journal) for config in (one, other))
    for line, same in zip(ours, theirs, strict=True):
        assert (line["bytes-up"], line["bytes-down"], line["scores"]) == (
            same["bytes-up"],
            same["bytes-down"],
            same["scores"],
        )


def test_a_run_may_go_on_in_processes_and_has_the_bits_of_one_that_did_not_stop(small, begun):
    whole, halved = (small(name, federation__num_rounds=2, local__moments="keep") for name in ("whole", "halved"))
    whole = whole.replaced({"local.schedule": "constant"})
    halved = halved.replaced({"local.schedule": "constant", "federation.num-rounds": 1})
    simulate(whole, num_workers=1)
    simulate(halved, num_workers=2)
    simulate(halved.replaced({"federation.num-rounds": 2, "output.resume": True}), num_workers=2, engine="processes")
    assert kept_by(whole) == kept_by(halved)
    assert len(begun) == 2


def test_a_client_that_fails_is_left_out_for_its_own_reason_and_the_others_go_on(small, begun):
    config = small(local__learning_rate=1e30, federation__round_retries=0)
    with pytest.raises(FederationError, match=r"0 usable replies.*DivergenceError: .* is "):
        simulate(config, num_workers=2, engine="processes")
    assert len(begun) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
def test_a_process_that_dies_costs_one_client_one_round(small, begun):
    config = small(federation__num_rounds=3, federation__min_replies=1)
    done = []

    def on_reply(partition):
        done.append(partition)
        if len(done) == config.federation.num_clients:  # the first round is over, and all are idle
            os.kill(begun[0].pid, signal.SIGKILL)
            begun[0].wait()

    simulate(config, num_workers=2, on_reply=on_reply, engine="processes")
    lines = journal.read(directory_of(config).journal)
    refused = [entry["reason"] for line in lines for entry in line["refused"]]
    assert refused == ["the worker process of the client has died, with exit code -9"]
    assert len(lines[-1]["clients"]) == config.federation.num_clients
    assert len(begun) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="looks at shared memory")
def test_a_caller_that_is_killed_leaves_no_process_and_no_shared_memory():
    program = (
        "import sys, time; from simulations.runtime.process_pool import Processes; workers = Processes(2);"
        "print(workers._shared.folder, *(worker.process.pid for worker in workers._all), flush=True); time.sleep(60)"
    )
    caller = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    with caller.stdout:
        folder, *pids = caller.stdout.readline().split()
    assert Path(folder).is_dir()
    caller.kill()
    caller.wait()
    deadline = time.monotonic() + 60  # they may still be importing
    while time.monotonic() < deadline and (Path(folder).exists() or any(map(_is_alive, pids))):
        time.sleep(0.1)
    assert not Path(folder).exists()
    assert not any(map(_is_alive, pids))


def _is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def tree():
    return FrozenTree(
        {
            "z": torch.randn(3, 5),
            "count": torch.tensor(7),
            "none": torch.zeros(0, 4),
            "half": torch.randn(4).double(),
            "a": torch.randn(2, 1, 2),
        }
    )


def passed(value, sender, receiver, free=None):
    """Returns what a receiver has of a value."""
    pipe = io.BytesIO()
    sender.dump(value, pipe)
    pipe.seek(0)
    return receiver.load(pipe, free)


@pytest.mark.parametrize("folder", ["shared", None])
@pytest.mark.parametrize("is_caller", [True, False])
def test_trees_pass_with_their_bits_order_and_types(tmp_path, monkeypatch, folder, is_caller, tree):
    monkeypatch.setattr(shared_memory, "_LEAST_BYTES", 1)
    sender, receiver = (Shared(tmp_path if folder else None, role) for role in (is_caller, not is_caller))
    record = wire.encode_tree(tree)
    found = passed({"one": record, "same": record, "name": "x"}, sender, receiver)
    assert len(list(tmp_path.iterdir())) == (1 if folder else 0)
    assert found["name"] == "x"
    for name in ("one", "same"):
        decoded = wire.decode_tree(found[name])
        assert list(decoded) == sorted(tree)
        assert {key: (value.dtype, value.shape) for key, value in decoded.items()} == {
            key: (value.dtype, value.shape) for key, value in tree.items()
        }
        assert digest(decoded) == digest(tree)
        assert torch.equal(decoded.vector, tree.vector)


def test_a_tree_that_was_found_to_be_finite_is_not_looked_at_again(tmp_path):
    sender, receiver = Shared(None, False), Shared(None, True)
    sound, unknown, broken = (FrozenTree({"a": torch.tensor([value])}) for value in (1.0, 2.0, float("nan")))
    assert (sound.not_finite, broken.not_finite) == (None, "a")
    found = passed([sound, unknown, broken], sender, receiver)
    assert [tree.is_checked for tree in found] == [True, False, False]
    assert [tree.not_finite for tree in found] == [None, None, "a"]


def test_a_file_is_written_again_when_nobody_holds_what_is_in_it(tmp_path):
    caller, worker, free = Shared(tmp_path, True), Shared(tmp_path, False), shared_memory.Free()
    trees = [FrozenTree({"a": torch.randn(20_000)}) for _ in range(4)]
    first = passed(trees[0], worker, caller, free)
    second = passed(trees[1], worker, caller, free)
    assert not free
    assert len(list(tmp_path.iterdir())) == 2
    kept = first["a"][3:5]
    del first
    gc.collect()
    assert not free  # one of its tensors is in use
    assert torch.equal(kept, trees[0]["a"][3:5])
    del kept
    gc.collect()
    worker.reuse(free)
    free.clear()
    third = passed(trees[2], worker, caller, free)
    fourth = passed(trees[3], worker, caller, free)
    assert len(list(tmp_path.iterdir())) == 3
    assert [digest(tree) for tree in (second, third, fourth)] == [digest(tree) for tree in trees[1:]]


def test_what_a_worker_has_written_is_sent_on_where_it_lies_and_a_dead_ones_files_go(tmp_path, tree):
    caller, worker, other = (Shared(tmp_path, is_caller) for is_caller in (True, False, False))
    free, tree = shared_memory.Free(), FrozenTree({"a": torch.randn(20_000)})
    found = passed(tree, worker, caller, free)
    assert digest(passed(found, caller, other)) == digest(tree)
    (file,) = tmp_path.iterdir()
    caller.forget(int(file.name.partition("-")[0]))
    assert not list(tmp_path.iterdir())
    assert digest(passed(found, caller, Shared(tmp_path, False))) == digest(tree)  # from a file of the caller's


def test_a_tree_of_the_callers_is_written_once_and_its_file_is_used_again(tmp_path):
    caller, workers = Shared(tmp_path, True), [Shared(tmp_path, False) for _ in range(2)]
    tree, after = (FrozenTree({"a": torch.randn(20_000)}) for _ in range(2))
    for worker in workers:
        assert digest(passed(tree, caller, worker)) == digest(tree)
    assert len(list(tmp_path.iterdir())) == 1
    del tree
    gc.collect()
    for worker in workers:
        assert digest(passed(after, caller, worker)) == digest(after)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_is_free_for_long_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_memory, "_MOST_IDLE", 3)
    worker, caller, free = Shared(tmp_path, False), Shared(tmp_path, True), shared_memory.Free()
    sizes = []
    for size in (20_000, 30_000, 30_000, 30_000, 30_000, 30_000):
        passed(FrozenTree({"a": torch.zeros(size)}), worker, caller, free)
        gc.collect()
        worker.reuse(free)
        free.clear()
        sizes.append(sorted(path.stat().st_size // 4 for path in tmp_path.iterdir()))
    assert sizes[1] == sizes[4] == [20_000, 30_000]
    assert sizes[5] == [30_000]


def test_where_shared_memory_is_full_trees_pass_through_the_pipe(tmp_path, monkeypatch):
    def full(path, data):
        raise OSError("no room")

    monkeypatch.setattr(Path, "write_bytes", full)
    tree = FrozenTree({"a": torch.randn(100_000)})
    assert digest(passed(tree, Shared(tmp_path, False), Shared(tmp_path, True))) == digest(tree)
