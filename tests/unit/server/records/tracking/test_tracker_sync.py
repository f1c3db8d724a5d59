"""What a tracker is told in several goes: each round once, and again where it has become another."""

import json

import pytest

from common.errors import ConfigError
from server.records import journal, run_directory
from server.records.run_directory import RunDirectory
from server.records.tracking import tracker_sync


def sync_of(config):
    directory = RunDirectory(run_directory.resolve(config.output.dir).path)
    directory.create()
    return directory, tracker_sync.TrackerSync("tensorboard", config, directory)


def test_a_run_that_goes_back_reports_its_rounds_again(small, tracker, line):
    directory, sync = sync_of(small())
    sync.open()
    for round in (1, 2, 3):
        journal.append(directory.journal, line(round))
        sync.send()
    with directory.journal.open("a") as file:
        file.write('{"round": 4, "im')  # a line that is being written
    sync.send()
    journal.cut(directory.journal, 1)
    journal.append(directory.journal, {"event": "rollback", "round": 1, "reason": "x"})
    sync.send()
    journal.append(directory.journal, line(2))
    sync.send()
    assert [call[:2] for call in tracker.calls[1:]] == [
        ("figures", 1), ("figures", 2), ("figures", 3), ("rewind", 1), ("figures", 2)
    ]  # fmt: skip
    assert tracker.of("figures")[0][1] == {
        "scores/fid": 1.0, "traffic/bytes-down": 0.0, "traffic/bytes-up": 0.0, "progress/examples-seen": 1.0,
        "progress/refused": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize("promise", ["none", "example epsilon=10", "client epsilon=8 most-noise=1e6"])
def test_a_service_of_others_gets_nothing_that_a_promise_of_privacy_does_not_cover(small, tracker, line, promise):
    directory, sync = sync_of(small(privacy=promise, local__fake_labels="uniform", federation__fraction=1.0))
    sync.open()
    client = {"partition": 1, "num-examples": 40, "examples": 40.0, "seconds": 3.0}
    audited = {"fid": 2.0, "worst-nearest-auc": 0.9}
    journal.append(directory.journal, line(1) | {"clients": [client], "scores": audited})
    sync.send()
    directory.summary.write_text(json.dumps({"scores": audited}))
    sync.end(ended=True)
    round, final = tracker.of("figures")[0][1], tracker.of("finish")[0][0]
    assert (round["scores/fid"], final["fid"]) == (2.0, 2.0)
    assert ("worst-nearest-auc" in final) == ("scores/worst-nearest-auc" in round) == (promise == "none")
    assert ("traffic/bytes-up" in round) == ("progress/examples-seen" in round) == (not promise.startswith("client"))


def test_rounds_that_were_done_again_between_two_looks_are_noticed(small, tracker, line):
    directory, sync = sync_of(small())
    sync.open()
    for round in (1, 2, 3):
        journal.append(directory.journal, line(round))
    sync.send()
    journal.cut(directory.journal, 1)
    for round in (2, 3, 4):
        journal.append(directory.journal, line(round, fid=7.0))
    assert sync.send() == 3
    assert [call[:2] for call in tracker.calls[4:]] == [
        ("rewind", 1), ("figures", 2), ("figures", 3), ("figures", 4)
    ]  # fmt: skip


def test_what_one_process_sent_the_next_one_does_not_send_again(small, tracker, line):
    directory, first = sync_of(small())
    for round in (1, 2, 3):
        journal.append(directory.journal, line(round))
    assert not first.is_complete(ended=False)
    first.open()
    assert first.send() == 3
    first.end(ended=False)
    tracker.calls.clear()
    _, second = sync_of(small())
    assert second.is_complete(ended=False)
    assert not second.is_complete(ended=True)
    journal.append(directory.journal, line(4))
    assert not second.is_complete(ended=False)
    second.open()
    assert second.send() == 1
    assert [call[:3] for call in tracker.calls] == [("open", "first", 3), ("figures", 4, tracker.of("figures")[0][1])]


def test_rounds_that_changed_since_another_process_sent_them_are_sent_again(small, tracker, line):
    directory, first = sync_of(small())
    for round in (1, 2, 3):
        journal.append(directory.journal, line(round))
    first.open()
    first.send()
    first.end(ended=False)
    tracker.calls.clear()
    journal.cut(directory.journal, 1)
    for round in (2, 3):
        journal.append(directory.journal, line(round, fid=7.0))
    _, second = sync_of(small())
    assert not second.is_complete(ended=False)
    second.open()
    assert second.send() == 2
    assert [call[:3] for call in tracker.calls[:1]] == [("open", "first", 1)]
    assert [round for round, _ in tracker.of("figures")] == [2, 3]
    _, third = sync_of(small())
    assert not third.is_complete(ended=False)  # the end was told of a run that had other rounds


def test_another_run_in_the_same_folder_is_another_run_of_the_tracker(small, tracker, line):
    directory, first = sync_of(small())
    journal.append(directory.journal, line(1))
    first.open()
    first.send()
    first.end(ended=False)
    tracker.calls.clear()
    directory.clear()
    journal.append(directory.journal, line(1, fid=7.0))
    _, second = sync_of(small())
    second.open()
    assert second.send() == 1
    assert [call[:3] for call in tracker.calls[:1]] == [("open", "", 0)]


def test_a_tracker_that_fails_in_the_middle_is_sent_the_rest_later(small, tracker, line):
    directory, first = sync_of(small())
    journal.append(directory.journal, line(1))
    first.open()
    first.send()
    for round in (2, 3):
        journal.append(directory.journal, line(round))
    tracker.fail = "figures of 3"
    with pytest.raises(OSError, match="no figures of 3"):
        first.send()
    tracker.fail = ""
    tracker.calls.clear()
    _, second = sync_of(small())
    second.open()
    assert second.send() == 1
    assert [call[:2] for call in tracker.calls] == [("open", "first"), ("figures", 3)]


def test_a_torn_record_of_what_was_reported_is_none(small, tracker, line):
    directory, first = sync_of(small())
    journal.append(directory.journal, line(1))
    first.open()
    first.send()
    (directory.path / tracker_sync.FOLDER / "tensorboard.json").write_text('{"identity": "fir')
    _, second = sync_of(small())
    second.open()
    assert second.send() == 1


def test_two_processes_do_not_tell_one_tracker_of_one_run(small, tracker):
    directory, first = sync_of(small())
    _, second = sync_of(small())
    with first.alone():
        with pytest.raises(ConfigError, match="another process is sending .* to tensorboard"), second.alone():
            pass
        other = tracker_sync.TrackerSync("mlflow", small(), directory)
        with other.alone():
            pass


def test_clients_have_figures_of_their_own_only_where_there_are_few(line):
    clients = [{"partition": k, "num-examples": 1, "generator-loss": float(k)} for k in range(51)]
    few, many = (tracker_sync.figures(line(1) | {"clients": clients[:count]}) for count in (50, 51))
    assert few["client-49/generator-loss"] == 49.0
    assert not any(name.startswith("client-") for name in many)
    assert many["clients-mean/generator-loss"] == 25.0


def test_rounds_of_a_version_that_wrote_less_are_not_sent_twice(small, tracker, line):
    directory, first = sync_of(small())
    old = {key: value for key, value in line(1).items() if key not in ("refused", "bytes-up")}
    journal.append(directory.journal, old)
    first.open()
    assert first.send() == 1
    first.end(ended=False)
    _, second = sync_of(small())
    assert second.is_complete(ended=False)
    second.open()
    assert second.send() == 0
