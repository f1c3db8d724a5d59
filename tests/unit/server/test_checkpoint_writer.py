"""Which snapshots are written, in which order, and who waits for it; events say when, no sleep."""

import threading

import pytest

from common.algorithms import ServerState
from server import checkpoint_writer
from server.checkpoint_writer import CheckpointWriter
from server.rounds.base import Snapshot

LONG = 1e6
PATIENCE = 30.0  # seconds after which a test has failed


def after(round):
    return Snapshot(ServerState(round, {}, {}, {}))


class Disk:
    """Notes what is written; a gate that is closed holds each write up."""

    def __init__(self):
        self.rounds, self.threads = [], []
        self.reached, self.gate = threading.Semaphore(0), threading.Event()
        self.gate.set()
        self.problem = None

    def write(self, snapshot):
        self.reached.release()
        assert self.gate.wait(PATIENCE)
        if self.problem is not None:
            raise self.problem
        self.threads.append(threading.current_thread())
        self.rounds.append(snapshot.state.round)


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def writer(disk):
    made = CheckpointWriter(disk.write, LONG)
    yield made
    disk.gate.set()
    made.close()


def test_the_first_is_written_at_once_and_of_those_after_it_the_latest(disk, writer):
    writer.put(after(1), may_be_left_out=True)
    assert disk.reached.acquire(timeout=PATIENCE)
    for round in (2, 3, 4):
        writer.put(after(round), may_be_left_out=True)
    writer.flush()
    assert disk.rounds == [1, 4]


def test_the_latest_is_written_when_its_time_has_come(disk, writer, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(checkpoint_writer.time, "monotonic", lambda: now[0])
    writer.put(after(1), may_be_left_out=True)
    writer.flush()
    disk.reached.acquire()
    now[0] += LONG - 1
    writer.put(after(2), may_be_left_out=True)
    assert not disk.reached.acquire(timeout=0.1)
    now[0] += 2
    writer.put(after(3), may_be_left_out=True)
    assert disk.reached.acquire(timeout=PATIENCE)
    writer.flush()
    assert disk.rounds == [1, 3]


def test_none_is_left_out_that_may_not_be(disk, writer):
    disk.gate.clear()
    writer.put(after(1), may_be_left_out=False)
    assert disk.reached.acquire(timeout=PATIENCE)
    writer.put(after(2), may_be_left_out=True)
    writer.put(after(3), may_be_left_out=False)
    writer.put(after(4), may_be_left_out=False)
    disk.gate.set()
    writer.flush()
    assert disk.rounds == [1, 3, 4]
    assert set(disk.threads) != {threading.current_thread()}


def test_who_brings_more_than_the_disk_can_take_waits(disk, writer):
    disk.gate.clear()
    for round in (1, 2, 3):
        writer.put(after(round), may_be_left_out=False)
        if round == 1:
            assert disk.reached.acquire(timeout=PATIENCE)
    fourth = threading.Thread(target=writer.put, args=(after(4),), kwargs={"may_be_left_out": False})
    fourth.start()
    fourth.join(0.1)
    assert fourth.is_alive()
    disk.gate.set()
    fourth.join(PATIENCE)
    writer.flush()
    assert disk.rounds == [1, 2, 3, 4]


def test_what_keeps_one_from_being_written_is_raised_once_and_the_next_one_is_tried(disk, writer):
    disk.problem = OSError(28, "No space left")
    writer.put(after(1), may_be_left_out=True)
    with pytest.raises(OSError, match="No space left"):
        writer.flush()
    disk.problem = None
    writer.put(after(2), may_be_left_out=False)
    writer.flush()
    assert disk.rounds == [2]


def test_a_problem_is_raised_by_the_next_round_too(disk, writer):
    disk.problem = OSError(28, "No space left")
    writer.put(after(1), may_be_left_out=False)
    writer._thread.join(0)  # it goes on
    while writer._problem is None and writer._thread.is_alive():
        disk.reached.acquire(timeout=0.01)
    with pytest.raises(OSError, match="No space left"):
        writer.put(after(2), may_be_left_out=True)


def test_with_no_seconds_who_brings_one_writes_it(disk):
    writer = CheckpointWriter(disk.write, 0.0)
    for round in (1, 2):
        writer.put(after(round), may_be_left_out=True)
    assert disk.rounds == [1, 2]
    assert set(disk.threads) == {threading.current_thread()}
    writer.flush()
    writer.close()


def test_what_waits_when_it_is_closed_is_not_written(disk, writer):
    writer.put(after(1), may_be_left_out=True)
    writer.flush()
    writer.put(after(2), may_be_left_out=True)
    writer.close()
    assert disk.rounds == [1]
