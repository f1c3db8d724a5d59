"""What may go wrong on one machine, and that nothing is lost: rows of the table in docs/reliability.md."""

import json
import os
import random
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from processes import Command

from server import checkpoint
from server.records import journal
from server.records.run_directory import RunDirectory

NUM_ROUNDS = 160  # a run that is killed twenty times lives that long: it gets some three rounds further between two
KEEP = {"local.moments": "keep", "federation.fraction": 0.5}  # half a cohort, and Adam's moments
SECONDS = 0.3  # between checkpoints: some rounds are in none


@pytest.fixture
def fedgan(small, tmp_path):
    """Returns a maker of commands that run or resume the small federation ``name``."""

    def start(name, *, resume=False, dies_at=None, where=None, **changes):
        config = small(name, **(KEEP | {"output.checkpoint-seconds": SECONDS} | changes))
        file = tmp_path / f"{name}.toml"
        file.write_text(config.toml())
        out = where or tmp_path / name
        arguments = ["simulate", *([] if resume else [file]), "--out", out, *(["--resume"] if resume else [])]
        command = Command(arguments, tmp_path / f"{name}.log", dies_at)
        command.run = RunDirectory(out)
        return command

    return start


def drifts_of(run):
    """Returns how far each client of each round moved, which tells other weights from the first round that has them."""
    lines = journal.read(run.journal)
    return {line["round"]: {client["partition"]: client["drift"] for client in line["clients"]} for line in lines}


def digest_of(run):
    return json.loads(run.summary.read_text())["weights-sha256"]


def assert_whole(run):
    for path in checkpoint.list_checkpoints(run.checkpoints):
        checkpoint.load_checkpoint(path)


@pytest.mark.slow
def test_a_run_that_is_killed_twenty_times_ends_with_the_same_bits(fedgan):
    rounds = {"federation__num_rounds": NUM_ROUNDS}
    fedgan("warm").wait()
    start = time.monotonic()
    through = fedgan("through", **rounds)
    while not journal.read(through.run.journal):  # which has remarks before the first round
        time.sleep(0.01)
    first = time.monotonic() - start
    assert through.wait() == 0, through.output()
    round_seconds = (time.monotonic() - start - first) / NUM_ROUNDS
    moments = random.Random(0)
    killed, reached = 0, []
    command = fedgan("killed", **rounds)
    while killed < 20:
        if killed % 4 == 0:  # as it starts
            time.sleep(moments.uniform(0.05, 0.3) * min(first, 4.0))
        else:  # some rounds further, wherever in a round
            goal = len(journal.read(command.run.journal)) + moments.randrange(1, 4)
            while command.runs() and len(journal.read(command.run.journal)) < goal:
                time.sleep(0.005)
            time.sleep(moments.uniform(0, 2) * round_seconds)
        assert command.kill() == -9, command.output()  # else it was over before it was killed often enough
        killed += 1
        assert_whole(command.run)
        found = checkpoint.latest(command.run.checkpoints)
        reached.append(found.snapshot.state.round if found else 0)
        command = fedgan("killed", resume=command.run.config.exists(), **rounds)
    assert command.wait() == 0, command.output()
    assert reached == sorted(reached)
    assert reached[-1] > 0
    assert len(set(reached)) > 3  # some died between rounds, some within
    expected, got = drifts_of(through.run), drifts_of(command.run)
    changed = [round for round in expected if got.get(round) != expected[round]]
    assert not changed, f"other weights from round {changed[0]} on; resumed after {reached}"
    assert digest_of(command.run) == digest_of(through.run)
    assert [line["round"] for line in journal.read(command.run.journal)] == list(range(1, NUM_ROUNDS + 1))
    assert not list(command.run.path.rglob("*.tmp"))


@pytest.mark.slow
def test_a_process_that_dies_while_it_writes_a_file_leaves_the_old_one_or_the_new_one(fedgan):
    rounds = {"federation__num_rounds": 2}
    through = fedgan("through", **rounds)
    assert through.wait() == 0, through.output()
    deaths = 0
    for name, step in (("fsync", 3), ("replace", 1)):
        for call in range(1, 100, step):
            command = fedgan(f"{name}-{call}", dies_at=(name, call), **rounds)
            if command.wait() == 0:
                break
            deaths += 1
            assert_whole(command.run)
            again = fedgan(f"{name}-{call}", resume=command.run.config.exists(), **rounds)
            assert again.wait() == 0, again.output()
            assert digest_of(again.run) == digest_of(through.run)
            assert not list(again.run.path.rglob("*.tmp"))
    assert deaths > 15  # every file of a run was hit, in the middle of its writing and before it took its name


@contextmanager
def disk(path, kilobytes):
    """Gives a function that sets the size, or other options, of a small disk of its own."""
    path.mkdir()

    def mount(*options):
        name = f"fedgan-{os.getpid()}-disk"  # as the watchdog looks for
        return subprocess.run(["mount", "-t", "tmpfs", *options, name, path], capture_output=True, check=False)

    if os.geteuid() != 0 or mount("-o", f"size={kilobytes}k").returncode:
        pytest.skip("needs root, to mount a small disk")
    try:
        yield lambda options: mount("-o", f"remount,{options}")
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.mark.parametrize("seconds", [0.0, 1e-9])  # written by the round itself, and beside the next one
def test_a_full_disk_stops_the_run_in_words_and_loses_nothing(fedgan, tmp_path, seconds):
    through = fedgan("through")
    assert through.wait() == 0, through.output()
    with disk(tmp_path / "disk", 1800) as change:
        where = tmp_path / "disk" / "run"
        every = {"output__keep_checkpoints": 50, "output__checkpoint_seconds": seconds}
        command = fedgan("full", where=where, **every)
        assert command.wait() == 1, command.output()
        assert "cannot be written (No space left on device); round" in command.output()
        assert "is safe: make room" in command.output()
        assert_whole(command.run)
        done = checkpoint.latest(command.run.checkpoints).snapshot.state.round
        assert 0 < done < 3
        change("size=20m")
        again = fedgan("full", where=where, resume=True)
        assert again.wait() == 0, again.output()
        assert digest_of(again.run) == digest_of(through.run)


def test_a_disk_that_turned_read_only_is_named(fedgan, tmp_path):
    with disk(tmp_path / "disk", 20_000) as change:
        where = tmp_path / "disk" / "run"
        command = fedgan("before", where=where, federation__num_rounds=1)
        assert command.wait() == 0, command.output()
        command.run.summary.unlink()  # a finished run is left as it is
        change("ro")
        again = fedgan("before", where=where, resume=True)
        assert again.wait() in (1, 2)
        assert f"output.dir='{where}' cannot be written" in again.output()
        fresh = fedgan("fresh", where=tmp_path / "disk" / "fresh")
        assert fresh.wait() == 2
        assert "cannot be written: Read-only file system" in fresh.output()
        change("rw")
        assert_whole(command.run)
