"""What many windows ask at once is read once, and anew where the record has changed."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from simulations.runs.run_reader import RunReader
from simulations.serve.recent import Recent
from tests.unit.simulations.serve.conftest import line, listening

WINDOWS = 10


@pytest.fixture
def said():
    return []


@pytest.fixture
def recent(said):
    now = [0.0]

    def say(record):
        said.append(len(record.view().lines))
        return said[-1]

    made = Recent(say, clock=lambda: now[0])
    made.now = now
    return made


def test_ten_windows_at_once_have_one_answer_made(written, said):
    begun, go = threading.Event(), threading.Event()

    def say(record):
        said.append(1)
        begun.set()
        assert go.wait(30)
        return "answer"

    recent, record = Recent(say), RunReader("hand", written([line(1)]))
    with ThreadPoolExecutor(WINDOWS) as pool:
        windows = [pool.submit(recent.of, record) for _ in range(WINDOWS)]
        assert begun.wait(30)
        go.set()
        assert [window.result() for window in windows] == ["answer"] * WINDOWS
    assert said == [1]


def test_a_new_line_is_reported_at_once_and_other_runs_are_others(written, recent, said):
    run, other = written([line(1)]), RunReader("other", written([line(1), line(2)], "other"))
    record = RunReader("hand", run)
    assert [recent.of(record), recent.of(record), recent.of(other)] == [1, 1, 2]
    with run.journal.open("a") as file:
        file.write(json.dumps(line(2)) + "\n")
    assert recent.of(record) == 2
    assert said == [1, 2, 2]


@pytest.mark.parametrize(("summary", "seconds"), [(None, 0.9), ({"rounds": 1, "scores": {}}, 60)])
def test_without_news_an_answer_holds_for_a_moment_and_longer_where_a_run_has_finished(
    written, recent, said, summary, seconds
):
    record = RunReader("hand", written([line(1)], summary=summary))
    for now, times in ((0.0, 1), (seconds - 0.1, 1), (seconds, 2), (seconds + 0.5, 2)):
        recent.now[0] = now
        recent.of(record)
        assert len(said) == times


def test_the_addresses_that_windows_ask_say_again_what_they_have_said(written, tmp_path, monkeypatch):
    written([line(1)])
    with listening(tmp_path / "runs") as client:
        for recent, path in ((client.service.summaries, "/api/runs"), (client.service.details, "/api/runs/hand")):
            monkeypatch.setattr(recent, "_clock", lambda: 0.0)
            first = client.get(path)
            monkeypatch.setattr(recent, "_say", lambda record: pytest.fail("it was said already"))
            again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
            assert (first.status_code, again.status_code) == (200, 304)
