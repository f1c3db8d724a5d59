"""Searches over HTTP, and on the page: from what their folder says alone, without Optuna."""

import json
import os

import pytest

from simulations.runs.search_record import (
    FinalistRow,
    ParameterRow,
    SearchFolder,
    SearchRecord,
    TrialRow,
    read_record,
)
from tests.unit.simulations.serve.conftest import line, listening

SETTINGS = {"objective": "hinge r1=0.1", "local.learning-rate": 0.003}
SECRET = "/home/somebody/study.toml"


def trial(number, value, state="complete", **more):
    parameters = {"objective": "hinge", "objective.hinge.r1": 0.1, "local.learning-rate": 0.003}
    return TrialRow(number=number, state=state, parameters=parameters, settings=SETTINGS, value=value, **more)


def record(**changes):
    found = SearchRecord(
        metric="fid",
        better="lower",
        preset=SECRET,
        config={"data.root": "/home/somebody/scans"},
        sampler="tpe",
        pruner="hyperband",
        trials=5,
        parameters=[
            ParameterRow(name="objective", choices=["hinge", "lsgan"], importance=0.25),
            ParameterRow(name="objective.hinge.r1", low=0.01, high=1.0, log=True),
            ParameterRow(name="local.learning-rate", low=1e-4, high=1e-2, log=True, importance=0.75),
        ],
        rows=[
            trial(0, 30.0, rounds=4),
            trial(2, 20.0),
            trial(3, 55.0, "pruned", reason="pruned: fid 55 after round 1"),
        ],
        left_out=1,
        finalists=[FinalistRow(trial=2, first=20.0, values={1: 24.0, 2: 26.0}, mean=25.0, deviation=1.414)],
        best=2,
        ended="5 trials are made",
    )
    return found.model_copy(update=changes)


@pytest.fixture
def folder(tmp_path, written):
    """A search in the folder of runs, with the run of one of its trials."""
    folder = SearchFolder(tmp_path / "runs" / "rates")
    folder.path.mkdir(parents=True)
    record().write(folder)
    written([line(1, fid=30.0)], "rates/trials/0000")
    return folder


@pytest.fixture
def served(folder, tmp_path):
    with listening(tmp_path / "runs") as client:
        yield client


def test_searches_are_listed_and_told_in_full(served):
    [search] = served.get("/api/searches").json()["searches"]
    assert (search["id"], search["metric"], search["best"], search["value"]) == ("rates", "fid", 2, 25.0)
    assert (search["made"], search["trials"], search["problem"]) == (3, 5, "")
    assert search["at-work"] is not True
    found = served.get("/api/searches/rates").json()
    assert found.items() >= search.items()
    assert [row["run"] for row in found["rows"]] == ["rates~trials~0000", "", ""]
    assert served.get(f"/api/runs/{found['rows'][0]['run']}").json()["round"] == 1
    assert found["settings"] == SETTINGS
    assert found["finalists"][0]["values"] == {"1": 24.0, "2": 26.0}
    assert [row["importance"] for row in found["parameters"]] == [0.25, None, 0.75]
    assert "fid" in [score["name"] for score in found["score-table"]]
    assert served.get("/api/searches/nothing").status_code == 404


def test_no_place_of_the_host_is_told(served):
    text = served.get("/api/searches").text + served.get("/api/searches/rates").text
    assert "somebody" not in text
    assert "study.toml" in text


def test_what_has_not_changed_is_not_sent_again_and_what_has_is(served, folder):
    answer = served.get("/api/searches/rates")
    known = {"If-None-Match": answer.headers["etag"]}
    assert served.get("/api/searches/rates", headers=known).status_code == 304
    record(trials=9).write(folder)
    os.utime(folder.record, (1, 1))
    assert served.get("/api/searches/rates", headers=known).json()["trials"] == 9


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"metric": 3}'])
def test_a_damaged_record_is_said_and_hides_nothing_else(served, folder, content):
    folder.record.write_bytes(content)
    [search] = served.get("/api/searches").json()["searches"]
    assert search["problem"].startswith("search.json is not whole")
    answer = served.get("/api/searches/rates")
    assert answer.status_code == 409
    assert str(folder.path) not in answer.text + search["problem"]
    assert served.get("/api/runs").json()["runs"]


def test_a_record_is_read_as_it_was_written(folder):
    assert read_record(folder) == record()
    assert "left-out" in json.loads(folder.record.read_text())


@pytest.mark.slow
def test_the_page_shows_a_search(visit, served):
    page = visit("/", at=served.base_url)
    page.get_by_role("link", name="rates", exact=True).click()
    page.get_by_role("heading", name="rates").wait_for()
    text = page.inner_text("main")
    for words in ("mean of 2 other seeds", "75 %", "local.learning-rate=0.003", "pruned: fid 55 after round 1"):
        assert words in text
    assert len(page.query_selector_all(".parallel path.trial")) == 3
    page.get_by_role("slider", name="Settings of each trial").press("Home")
    page.get_by_text("Trial 0: FID 30").wait_for()
    page.get_by_role("link", name="trial 0").click()
    page.get_by_role("heading", name="rates~trials~0000").wait_for()
