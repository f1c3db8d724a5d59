"""A client's memories: in Flower's context and on disk, to one contract."""

import os
import stat

import pytest
import torch
from flwr.app import ConfigRecord, RecordDict

from client.state import ContextMemories, DiskMemories
from common import tree
from common.errors import ConfigError, ProtocolError

RUN = "beef"


@pytest.fixture(params=["context", "disk"])
def reopen(request, tmp_path):
    """Returns a maker of the same client's memories, as the next message would find them."""
    state = RecordDict()
    return lambda: ContextMemories(state) if request.param == "context" else DiskMemories(tmp_path, RUN, 3)


def memory(value):
    return {"moments": {"generator.w": torch.full((2, 3), float(value))}, "personal": {"d.n": torch.tensor(value)}}


def digests(kept):
    return {name: tree.digest(values) for name, values in kept.items()}


def test_before_the_first_round_there_is_nothing(reopen):
    assert reopen().load(0) == {}
    assert reopen().load(1) is None


def test_what_is_kept_reads_back_to_the_bit(reopen):
    reopen().save(1, memory(7), keep_from=0)
    assert digests(reopen().load(1)) == digests(memory(7))


def test_a_repeated_round_starts_from_the_memory_before_it(reopen):
    reopen().save(1, memory(1), keep_from=0)
    reopen().save(2, memory(2), keep_from=1)
    assert digests(reopen().load(1)) == digests(memory(1))
    reopen().save(2, memory(22), keep_from=1)
    assert digests(reopen().load(2)) == digests(memory(22))


def test_older_memories_go_when_the_run_cannot_go_back_there(reopen):
    for round in (1, 2, 5):
        reopen().save(round, memory(round), keep_from=0)
    reopen().save(6, memory(6), keep_from=2)
    assert [round for round in range(1, 8) if reopen().load(round) is not None] == [2, 5, 6]


def test_after_going_back_what_came_later_is_gone(reopen):
    for round in (1, 2, 3, 4):
        reopen().save(round, memory(round), keep_from=0)
    reopen().save(2, memory(22), keep_from=1)
    assert [round for round in range(1, 8) if reopen().load(round) is not None] == [1, 2]
    assert digests(reopen().load(2)) == digests(memory(22))


def test_a_name_that_is_kept_no_more_is_gone(reopen):
    reopen().save(1, memory(1), keep_from=0)
    reopen().save(1, {"personal": memory(1)["personal"]}, keep_from=0)
    assert set(reopen().load(1)) == {"personal"}


def test_a_context_of_another_version_is_refused():
    with pytest.raises(ProtocolError, match="state has version 1, this fedgan reads 2"):
        ContextMemories(RecordDict({"fedgan.memory": ConfigRecord({"version": 1})}))


class TestDisk:
    def test_files_are_the_owner_s_alone(self, tmp_path):
        DiskMemories(tmp_path, RUN, 3).save(1, memory(1), keep_from=0)
        (file,) = (tmp_path / "runs" / RUN / "partition-3").iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700

    def test_a_torn_file_is_no_memory(self, tmp_path, caplog):
        memories = DiskMemories(tmp_path, RUN, 3)
        memories.save(1, memory(1), keep_from=0)
        (file,) = (tmp_path / "runs" / RUN / "partition-3").iterdir()
        file.write_bytes(file.read_bytes()[:-9])
        assert memories.load(1) is None
        assert file.name in caplog.text

    def test_partitions_and_runs_are_apart(self, tmp_path):
        DiskMemories(tmp_path, RUN, 3).save(1, memory(1), keep_from=0)
        assert DiskMemories(tmp_path, RUN, 4).load(1) is None
        assert DiskMemories(tmp_path, "dead", 3).load(1) is None

    def test_the_runs_that_were_at_work_last_are_kept(self, tmp_path):
        for number, run in enumerate("0123456789ab"):
            DiskMemories(tmp_path, run, 0).save(1, memory(1), keep_from=0)
            os.utime(tmp_path / "runs" / run, (number, number))
            DiskMemories(tmp_path, "0", 0)  # an old run that goes on
        assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [*"0", *"3456789ab"]

    @pytest.mark.parametrize("run", ["../etc", "", "x" * 3, "a" * 65])
    def test_a_run_that_is_no_number_makes_no_folder(self, tmp_path, run):
        with pytest.raises(ProtocolError, match="no hexadecimal number"):
            DiskMemories(tmp_path / "state", run, 0)
        assert not (tmp_path / "state").exists()

    def test_a_place_that_cannot_be_a_folder_is_named(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigError, match="state-path=.*file' in the node configuration: "):
            DiskMemories(tmp_path / "file", RUN, 0)
