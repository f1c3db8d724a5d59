"""Asked by HEAD, below a proxy's prefix, mounted in another application; and asked again and again."""

import itertools
import json

import anyio
import httpx
import pytest
from fastapi import FastAPI

from server.records import journal
from simulations.serve.app import make_app
from simulations.serve.library import Library
from tests.unit.simulations.serve.conftest import line, listening

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/metrics", "/docs", "/openapi.json", "/style.css", "/api/runs", "/api/runs/digits"]
)
def test_head_is_answered_as_get_without_its_body(client, path):
    got, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    for below in ("partition", "journal", "samples/1.png"):
        assert client.head(f"/api/runs/digits/{below}").status_code == 200
    assert client.head("/api/runs/none").status_code == 404


def test_head_of_a_stream_opens_none(written, tmp_path):
    run = written([line(1)])
    with run.locked(), listening(tmp_path / "runs") as client:
        answer = client.head("/api/runs/hand/journal", headers={"Accept": "text/event-stream"})
        assert (answer.status_code, answer.headers["content-type"][:17]) == (200, "text/event-stream")
        assert client.service.streams == 0


@pytest.mark.parametrize("prefix", ["", "/fedgan", "/a/b/"])
def test_a_prefix_may_be_left_there_or_taken_away(trained, prefix):
    with listening(trained, prefix=prefix) as client:
        for before in {"", prefix.rstrip("/")}:
            assert client.get(f"{before}/api/runs/digits").json()["id"] == "digits"
            assert client.get(f"{before}/docs").status_code == 200
            assert client.get(f"{before}/").text.startswith("<!doctype html>")
        assert client.get("/fedganx/healthz").status_code == 404


def test_what_refers_to_other_addresses_does_so_from_where_it_is(trained):
    with listening(trained, token=TOKEN, prefix="/fedgan") as client:
        bare = client.get("/fedgan", params={"token": TOKEN})
        assert (bare.status_code, bare.headers["location"]) == (307, f"fedgan/?token={TOKEN}")
        answer = client.get("/fedgan/", params={"token": TOKEN})
        assert (answer.status_code, answer.headers["location"]) == (303, "./")
        assert "path" not in answer.headers["set-cookie"].lower()  # so it is the folder that the browser asked for
        assert client.get("/fedgan/api/runs").status_code == 200
        docs = client.get("/fedgan/docs").text
        assert not any(text in docs for text in ('href="/', "href='/", "href=/", "src=/", "src='/"))
        assert client.get("/fedgan/openapi.json").json()["servers"] == [{"url": "."}]


def test_it_can_be_mounted_in_another_application(trained):
    outer = FastAPI()
    outer.mount("/tools/fedgan", make_app(Library(trained)))

    async def ask():
        transport = httpx.ASGITransport(outer)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            for path in ("/", "/healthz", "/docs", "/docs.js", "/api/runs/digits", "/api/runs/digits/samples/1.png"):
                assert (await client.get(f"/tools/fedgan{path}")).status_code == 200
            assert (await client.head("/tools/fedgan/")).status_code == 200

    anyio.run(ask)


def test_what_has_not_changed_is_not_sent_again(client):
    for path in ("/api/runs", "/api/runs/digits", "/api/runs/digits/journal?first=1"):
        answer = client.get(path)
        again = client.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert client.get(path, headers={"If-None-Match": '"another"'}).content == answer.content


def test_a_journal_that_is_requested_in_parts_says_when_lines_were_taken_back(written, tmp_path):
    run = written([line(1), line(2)])
    with listening(tmp_path / "runs") as client:
        path = "/api/runs/hand/journal"
        assert client.get(path, params={"first": 2}).json() == {"lines": [], "unreadable": 0, "total": 2, "cuts": 0}
        journal.cut(run.journal, 1)  # the run goes back
        for round in (2, 3):
            journal.append(run.journal, line(round))
        reported = client.get(path, params={"first": 2}).json()
        assert (reported["cuts"], reported["total"]) == (1, 3)


def test_the_stream_of_a_run_that_is_over_ends_and_is_not_opened_again(written, tmp_path):
    run = written([line(1), line(2)])
    live = {"Accept": "text/event-stream"}
    with listening(tmp_path / "runs") as client:
        text = client.get("/api/runs/hand/journal", headers=live).text
        assert [row for row in text.splitlines() if row.startswith("event")] == ["event: round"] * 2 + ["event: end"]
        last = {"Last-Event-ID": str(run.journal.stat().st_size)}
        assert text.rpartition("id: ")[2].splitlines()[0] == last["Last-Event-ID"]
        assert client.get("/api/runs/hand/journal", headers=live | last).status_code == 204
        behind = client.get("/api/runs/hand/journal", headers=live | {"Last-Event-ID": "5"})
        assert behind.text.count("event: round") == 2


def test_a_stream_without_news_is_kept_open_by_comments(written, tmp_path, monkeypatch):
    run = written([line(1)])
    monkeypatch.setattr("simulations.serve.stream._LOOK_EVERY", 0.01)
    live = {"Accept": "text/event-stream"}
    with (
        run.locked(),
        listening(tmp_path / "runs") as client,
        client.stream("GET", "/api/runs/hand/journal", headers=live) as answer,
    ):
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-store", "no")
        rows = list(itertools.takewhile(lambda row: row != ": still here", answer.iter_lines()))
    retry, event = "\n".join(rows).strip().split("\n\n")
    assert retry == "retry: 2000"
    assert dict(row.split(": ", 1) for row in event.split("\n")) == {
        "event": "round",
        "id": str(run.journal.stat().st_size),
        "data": json.dumps(journal.read(run.journal)[0]),
    }


def test_the_stream_of_a_run_that_ends_meanwhile_ends(written, tmp_path, monkeypatch):
    run = written([line(1)])
    monkeypatch.setattr("simulations.serve.stream._LOOK_EVERY", 0.01)
    lock = run.locked()
    lock.__enter__()
    with (
        listening(tmp_path / "runs") as client,
        client.stream("GET", "/api/runs/hand/journal", headers={"Accept": "text/event-stream"}) as answer,
    ):
        rows = answer.iter_lines()
        assert "event: round" in (next(rows), next(rows), next(rows))
        lock.__exit__(None, None, None)
        (run.path / ".lock").unlink(missing_ok=True)
        assert "event: end" in list(rows)
