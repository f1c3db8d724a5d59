"""What clients do within a round, as it is told to whoever looks."""

import json
import threading
import time

import pytest

from common.config import RunConfig
from server.clients import live_status as now_file
from server.clients.live_status import LiveStatus
from server.records.run_directory import RunDirectory
from simulations.runtime import in_process
from tests.conftest import SMALL


def await_status(path, condition, seconds=20.0):
    """Returns what the file says as soon as it says what is wanted."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            found = json.loads(path.read_text())
        except FileNotFoundError:
            found = None
        if found is not None and condition(found):
            return found
        time.sleep(0.01)
    raise AssertionError(f"{path} says {found}")


def test_a_round_is_reported_as_it_goes_and_the_file_goes_with_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(now_file, "_PAUSE", 0.01)
    path = tmp_path / "now.json"
    with LiveStatus(path) as now:
        now.begin(4, [2, 5])
        found = await_status(path, lambda it: it["round"] == 4)
        assert found["clients"] == {"2": "requested", "5": "requested"}
        assert abs(found["since"] - time.time()) < 60
        now.put(5, "training")
        now.put(7, "training")  # nobody of this round
        await_status(path, lambda it: it["clients"] == {"2": "requested", "5": "training"})
        now.put(5, "answered")
        await_status(path, lambda it: it["clients"]["5"] == "answered")
    assert list(tmp_path.iterdir()) == []


def test_many_changes_are_written_seldom_and_the_last_one_is_written(tmp_path, monkeypatch):
    path, writes = tmp_path / "now.json", []
    dumps = json.dumps
    monkeypatch.setattr(now_file.json, "dumps", lambda it: writes.append(1) or dumps(it))
    with LiveStatus(path) as now:
        now.begin(1, range(1000))
        began = time.monotonic()
        for partition in range(1000):
            now.put(partition, "training")
            now.put(partition, "answered")
            time.sleep(0.0002)  # lets the writer in
        await_status(path, lambda it: set(it["clients"].values()) == {"answered"})
        assert len(writes) <= 2 + (time.monotonic() - began) / now_file._PAUSE


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(now_file, "_PAUSE", 0.01)
    caplog.set_level("DEBUG", "fedgan.server")
    folder = tmp_path / "later"
    with LiveStatus(folder / "now.json") as now:
        now.begin(1, [0])
        deadline = time.monotonic() + 20
        while "cannot be written" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "cannot be written" in caplog.text
        folder.mkdir()  # and when it can, it is
        now.put(0, "answered")
        await_status(folder / "now.json", lambda it: it["clients"] == {"0": "answered"})


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_reports_who_waits_who_trains_and_who_has_answered(tmp_path, monkeypatch, workers):
    monkeypatch.setattr(now_file, "_PAUSE", 0.01)
    directory, seen = RunDirectory(tmp_path / "run"), []
    turn = threading.Lock()
    call = in_process.client_app

    def client(message, context):
        if message.metadata.message_type != "train":
            return call(message, context)
        own = str(context.node_config["partition-id"])
        with turn:  # one looks at a time, so that the other's state stays
            seen.append(await_status(directory.now, lambda it: it["clients"][own] == "training"))
        return call(message, context)

    config = RunConfig.from_flat(SMALL | {"federation.num-rounds": 1, "output.dir": str(directory.path)})
    monkeypatch.setattr(in_process, "client_app", client)
    in_process.simulate(config, num_workers=workers)
    assert {len(found["clients"]) for found in seen} == {4}
    assert {found["round"] for found in seen} == {1}
    assert "requested" in seen[0]["clients"].values()
    assert "answered" in seen[-1]["clients"].values()
    assert not directory.now.exists()
