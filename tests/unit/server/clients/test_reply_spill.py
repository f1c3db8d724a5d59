"""Replies that wait on disk: the same values, out of memory, and gone with whoever looks at them."""

import gc
import sys
from pathlib import Path

import pytest
import torch

from common import tree
from server.clients import reply_spill as module
from server.clients.reply_spill import ReplySpill
from server.records.run_directory import RunDirectory
from simulations.runtime.in_process import simulate
from tests.rarely import RARELY


def reply(seed, size=50_000):
    generator = torch.Generator().manual_seed(seed)
    return tree.FrozenTree(
        tree.clone(
            {
                "d.bias": torch.randn(3, generator=generator),
                "d.none": torch.zeros(0),
                "d.seen": torch.tensor(7 + seed),
                "g.weight": torch.randn(size, 5, generator=generator),
            }
        )
    )


def lies_in_a_file(value):
    """Returns whether a tensor's memory is a mapped file, as the system says."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(number, 16) for number in line.split()[0].split("-"))
        if start <= value.data_ptr() < end:
            return ".reply." in line
    return False


def test_what_is_beyond_the_limit_has_the_same_values_in_the_same_order_and_one_vector(tmp_path):
    spill = ReplySpill(tmp_path, 1.5)  # each of these is a megabyte
    given = [reply(k) for k in range(3)]
    put = [spill.put(one) for one in given]
    assert put[0] is given[0]
    for one, other in zip(given, put, strict=True):
        assert list(other) == list(one)
        assert tree.digest(other) == tree.digest(one)
        assert other["g.weight"].shape == (50_000, 5)
        assert other.vector.data_ptr() == other["d.bias"].data_ptr()  # no copy is made to look at all
    assert tree.digest(tree.weighted_mean(put, [1, 2, 3])) == tree.digest(tree.weighted_mean(given, [1, 2, 3]))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_is_beyond_the_limit_is_a_file_without_a_name_and_no_open_file_stays(tmp_path):
    open_files = len(list(Path("/proc/self/fd").iterdir()))
    spill = ReplySpill(tmp_path, 1.5)
    put = [spill.put(reply(k)) for k in range(4)]
    assert [lies_in_a_file(one["g.weight"]) for one in put] == [False, True, True, True]
    assert list(tmp_path.iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == open_files
    del put
    gc.collect()
    assert ".reply." not in Path("/proc/self/maps").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_updates_under_masks_wait_on_disk_too_and_counts_beside_weights_do_not(tmp_path):
    numbers = torch.randint(-(2**62), 2**62, (50_000,), generator=torch.Generator().manual_seed(0))
    masked = tree.FrozenTree({"masked": numbers})
    stored = ReplySpill(tmp_path, 0.1).put(masked)
    assert lies_in_a_file(stored["masked"])
    assert torch.equal(stored["masked"], numbers)
    assert (stored["masked"].numpy().view("uint64") == numbers.numpy().view("uint64")).all()
    beside = ReplySpill(tmp_path, 0.1).put(reply(0))
    assert lies_in_a_file(beside["g.weight"])
    assert not lies_in_a_file(beside["d.seen"])
    assert list(tmp_path.iterdir()) == []


def test_the_limit_is_that_of_a_round_and_none_means_memory(tmp_path):
    spill, given = ReplySpill(tmp_path, 1.5), reply(0)
    assert spill.put(given) is given
    spill.clear()
    assert spill.put(given) is given
    assert spill.put(given) is not given
    unlimited = ReplySpill(tmp_path, 0)
    assert all(unlimited.put(given) is given for _ in range(5))


def test_without_room_on_disk_replies_stay_in_memory_and_the_log_says_so_once(tmp_path, caplog):
    spill, given = ReplySpill(tmp_path / "not there", 1.5), reply(0)
    assert all(spill.put(given) is given for _ in range(4))
    assert len(caplog.records) == 1
    assert "replies stay in memory" in caplog.text
    assert "not there" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        pytest.param({"aggregate": "median"}, marks=RARELY),
        pytest.param({"aggregate": "secure-mean threshold=3"}, marks=RARELY),
        {"transforms": "compress"},
        pytest.param({"algorithm": "scaffold"}, marks=RARELY),
        pytest.param({"model": "dcgan norm=batch"}, marks=RARELY),
    ],
    ids=str,
)
def test_a_run_whose_replies_wait_on_disk_has_the_bits_of_one_in_memory(small, monkeypatch, changes):
    stored = []
    store = ReplySpill.store
    monkeypatch.setattr(ReplySpill, "store", lambda spill, tree: stored.append(store(spill, tree)) or stored[-1])
    one, other = (small(name, **changes) for name in ("memory", "disk"))
    simulate(one, num_workers=2)
    assert not stored
    monkeypatch.setattr(module, "_MEGABYTE", 1)
    simulate(other.replaced({"federation.reply-megabytes": 10}), num_workers=2)
    assert len(stored) >= one.federation.num_clients * one.federation.num_rounds - 1
    assert all(lies_in_a_file(found.get("masked", found.vector)) for found in stored)
    digests = {RunDirectory(Path(config.output.dir)).read_summary()["weights-sha256"] for config in (one, other)}
    assert len(digests) == 1
