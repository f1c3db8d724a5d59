"""The addresses, asked over HTTP as others ask them."""

import contextlib
import io
import json
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor, as_completed

import httpx
import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from simulations.runs import provenance
from simulations.serve import images as images_file
from simulations.serve import stream as stream_file
from simulations.serve.limits import Limits
from tests.unit.simulations.serve.conftest import doing, event, line, listening

GENERATE = "/api/runs/digits/generate"


def test_runs_are_listed_and_reported_in_full(client):
    [run] = client.get("/api/runs").json()["runs"]
    assert (run["id"], run["state"], run["progress"], run["round"]) == ("digits", "finished", 1.0, 3)
    assert run["checkpoint-rounds"] == [1, 2, 3]
    assert run["sample-rounds"] == [0, 1, 2, 3]
    assert run["images"]["class-names"] == [str(k) for k in range(10)]
    reported = client.get("/api/runs/digits").json()
    assert reported["config"]["federation.num-clients"] == 4
    assert len(reported["client-table"]) == 4
    assert len(reported["curves"]["means"]["generator-loss"]) == 3


def test_samples_are_the_files_and_not_sent_twice(client, trained):
    answer = client.get("/api/runs/digits/samples/2.png")
    assert answer.content == (trained / "digits" / "samples" / "round-0002.png").read_bytes()
    assert answer.headers["content-type"] == "image/png"
    again = client.get("/api/runs/digits/samples/2.png", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/api/runs/digits/samples/9.png").status_code == 404


def test_the_partition_reports_who_holds_what_but_no_digest_of_data(client):
    answer = client.get("/api/runs/digits/partition")
    assert sum(answer.json()["clients"][0]["label-counts"]) == 40
    assert "digest" not in answer.text


def test_the_journal_is_reported_in_parts(client):
    whole = client.get("/api/runs/digits/journal").json()
    assert [row["round"] for row in whole["lines"] if "event" not in row] == [1, 2, 3]
    part = client.get("/api/runs/digits/journal", params={"first": 1, "num": 1}).json()
    assert (part["lines"], part["total"]) == (whole["lines"][1:2], len(whole["lines"]))


def test_a_hundred_sevens_come_as_a_zip(client):
    answer = client.post(GENERATE, json={"num": 100, "labels": [7], "format": "zip"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        pictures = [name for name in archive.namelist() if name.endswith("-label-7.png")]
        assert len(pictures) == 100
        assert len({archive.read(name) for name in pictures}) == 100
        assert Image.open(io.BytesIO(archive.read(pictures[0]))).size == (28, 28)
    assert 'filename="digits-round-3-seed-0.zip"' in answer.headers["content-disposition"]


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "npz", "zip"])
def test_the_same_request_gives_the_same_bytes_and_another_seed_others(client, format):
    expected = {"num": 4, "labels": [1, 2], "seed": 5, "format": format, "resize": {"width": 40, "height": 40}}
    first, second = (client.post(GENERATE, json=expected).content for _ in range(2))
    assert first == second
    assert client.post(GENERATE, json=expected | {"seed": 6}).content != first


def test_concurrent_requests_are_joined_and_get_the_bytes_that_they_get_alone(client):
    expected = [
        {"num": 1 + k % 9, "seed": k, "labels": [k % 10], "format": ("png", "npz", "zip")[k % 3], "round": 1 + k % 2}
        | ({"keep": 0.5} if k % 4 == 0 else {})
        for k in range(24)
    ]
    alone = [client.post(GENERATE, json=one).content for one in expected]
    joined = client.service.making.batcher.joined
    with ThreadPoolExecutor(24) as pool:
        for _ in range(2):
            assert list(pool.map(lambda one: client.post(GENERATE, json=one).content, expected)) == alone
    assert client.service.making.batcher.joined > joined, "no two requests shared a pass: nothing was tested"


def test_images_say_where_they_come_from_and_can_be_made_again(client, tmp_path, trained):
    expected = {"num": 3, "seed": 9, "labels": [4], "keep": 0.5, "round": 2}
    answer = client.post(GENERATE, json=expected)
    path = tmp_path / "file.png"
    path.write_bytes(answer.content)
    found = provenance.read(path)
    assert (found["run"], found["round"], found["seed"], found["labels"]) == ("digits", 2, 9, [4, 4, 4])
    assert (found["request"], found["rejected"]) == (expected, 3)
    assert answer.headers["x-fedgan-rejected"] == "3"
    assert answer.headers["x-fedgan-model-sha256"] == found["model-sha256"]
    assert client.post(GENERATE, json=found["request"]).content == answer.content


def test_given_noise_make_images_of_their_own(client):
    expected = {"noise": [[0.0] * 8, [1.0] * 8], "labels": [3], "format": "npz"}
    answer = client.post(GENERATE, json=expected)
    images = np.load(io.BytesIO(answer.content))["images"]
    assert images.shape == (2, 28, 28)
    assert not np.array_equal(*images)


@pytest.mark.parametrize(
    ("path", "expected", "status", "said"),
    [
        (GENERATE, {"num": 10**5}, 422, "1000 a request are allowed"),
        (GENERATE, {"num": 400, "keep": 0.1}, 422, "examples would be made"),
        (GENERATE, {"num": 900, "resize": {"width": 4096, "height": 4096}}, 422, "pixels"),
        (GENERATE, {"labels": [10]}, 422, "the generator knows 0 to 9"),
        (GENERATE, {"round": 77}, 422, "no checkpoint of round 77; rounds with one: 1, 2, 3"),
        (GENERATE, {"client": 1}, 422, "client=1: no generator of its own"),
        (GENERATE, {"num": -5}, 422, "num=-5: Input should be greater than or equal to 1"),
        (GENERATE, {"labels": "\ud800"}, 422, "labels"),
        ("/api/runs/other/generate", {}, 404, "no run of that name"),
    ],
)
def test_what_cannot_be_is_refused_in_words(client, trained, path, expected, status, said):
    answer = client.post(path, content=json.dumps(expected), headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert said in answer.json()["detail"]
    assert str(trained) not in answer.text


def test_a_run_without_a_checkpoint_says_so_and_one_that_gets_it_serves_it(written, trained, tmp_path):
    run = written([line(1)])
    with listening(tmp_path / "runs") as client:
        answer = client.post("/api/runs/hand/generate", json={})
        assert (answer.status_code, "no checkpoint yet" in answer.json()["detail"]) == (409, True)
        run.config.write_bytes((trained / "digits" / "config.toml").read_bytes())
        checkpoint = trained / "digits" / "checkpoints" / "round-0002.safetensors"
        (run.checkpoints / checkpoint.name).write_bytes(checkpoint.read_bytes())
        answer = client.post("/api/runs/hand/generate", json={})
        assert (answer.status_code, answer.headers["x-fedgan-round"]) == (200, "2")


def test_a_run_with_files_that_cannot_be_read_takes_no_other_with_it(written, trained, tmp_path):
    written([line(1)], "sound")
    run = written([line(1)], "broken")
    for path in (run.journal, run.partition):
        path.unlink()
        path.mkdir()  # which nobody reads, root neither
    run.samples.rmdir()
    run.samples.write_text("")
    (run.checkpoints / "round-0001.safetensors").mkdir()
    with listening(tmp_path / "runs") as client:
        assert [it["round"] for it in client.get("/api/runs").json()["runs"]] == [0, 1]
        for path in ("", "/journal", "/partition", "/samples/1.png"):
            assert client.get(f"/api/runs/broken{path}").status_code in (200, 404)
        assert client.get("/metrics").status_code == 200
        answer = client.post("/api/runs/broken/generate", json={})
        assert (answer.status_code, str(tmp_path) in answer.text) == (409, False)


def test_too_many_requests_are_answered_to_come_again(trained):
    with listening(trained, limits=Limits(waiting=64)) as client:
        stuck = threading.Event()
        client.service.making.batcher._make, make = (
            lambda picked: (stuck.wait(30), make(picked)),
            client.service.making.batcher._make,
        )
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(client.post, GENERATE, json={"num": 60})
            while not client.service.making.batcher.waiting:
                time.sleep(0.01)
            answer = client.post(GENERATE, json={"num": 5})
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
            assert "fedgan_refused_total 1" in client.get("/metrics").text
            stuck.set()
            assert first.result().status_code == 200
        assert client.post(GENERATE, json={"num": 5}).status_code == 200


def test_only_so_many_requests_are_under_way_and_encoded_at_a_time(trained, monkeypatch):
    encode, busy, most, both, go = images_file.encode, [], [], threading.Event(), threading.Event()

    def watched(made, expected):
        busy.append(1)
        most.append(len(busy))
        if len(busy) == 2:
            both.set()
        assert go.wait(30)
        busy.pop()
        return encode(made, expected)

    monkeypatch.setattr(images_file, "encode", watched)
    with listening(trained, limits=Limits(requests=6, encoders=2)) as client, ThreadPoolExecutor(12) as pool:
        requested = as_completed([pool.submit(client.post, GENERATE, json={"seed": k}) for k in range(12)], timeout=30)
        assert [next(requested).result().status_code for _ in range(6)] == [429] * 6
        assert both.wait(30)
        go.set()
        assert [answer.result().status_code for answer in requested] == [200] * 6
        assert max(most) == 2
        assert client.post(GENERATE, json={}).status_code == 200


def test_what_is_not_made_when_the_server_stops_is_answered_so(trained):
    with listening(trained) as client:
        stuck, batcher = threading.Event(), client.service.making.batcher
        batcher._make, make = lambda picked: (stuck.wait(30), make(picked)), batcher._make
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(client.post, GENERATE, json={"num": 100})
            while not batcher.waiting:
                time.sleep(0.01)
            batcher.close(0.1)
            assert (answer.result().status_code, answer.result().json()["detail"]) == (503, "the server is stopping")
            assert client.post(GENERATE, json={}).status_code == 503
        stuck.set()


def test_images_that_take_too_long_are_given_up(trained):
    with listening(trained, limits=Limits(seconds=0.2)) as client:
        stuck = threading.Event()
        client.service.making.batcher._make, make = (
            lambda picked: (stuck.wait(30), make(picked)),
            client.service.making.batcher._make,
        )
        answer = client.post(GENERATE, json={"num": 600})
        assert (answer.status_code, "not made within 0.2 seconds" in answer.json()["detail"]) == (503, True)
        stuck.set()
        while client.service.making.batcher.waiting:  # what nobody waits for is not made
            time.sleep(0.01)
        assert client.service.making.batcher.images <= 64


def test_answers_under_way_are_sent_when_the_server_stops(trained):
    with ThreadPoolExecutor(1) as pool:
        with listening(trained) as client:
            make = client.service.making.batcher._make
            client.service.making.batcher._make = lambda picked: (time.sleep(0.05), make(picked))
            answer = pool.submit(httpx.post, str(client.base_url.join(GENERATE)), json={"num": 500}, timeout=30)
            while not client.service.making.batcher.waiting:
                time.sleep(0.01)
        assert answer.result().status_code == 200
    assert not client.service.making.batcher.is_alive


class Stream:
    """Events of a journal as they come, read in a thread."""

    def __init__(self, client, path, **headers):
        self.events, self._client, self._path = [], client, path
        self._headers = {"Accept": "text/event-stream"} | headers
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        with (
            contextlib.suppress(httpx.HTTPError, httpx.StreamError),  # the test is over, and its client closed
            self._client.stream("GET", self._path, headers=self._headers, timeout=20) as answer,
        ):
            found = {}
            for text in answer.iter_lines():
                key, _, value = text.partition(": ")
                if text:
                    found[key] = value
                elif found:
                    self.events.append(found)
                    found = {}

    def wait(self, count, seconds=30.0):
        """Returns the events but the first, which says when to try again."""
        end = time.monotonic() + seconds
        while len(self.events) < count + 1:
            assert time.monotonic() < end, self.events
            time.sleep(0.005)
        return self.events[1 : count + 1]


def appended(run, text):
    with run.journal.open("a") as file:
        file.write(text)


def test_a_stream_brings_each_line_also_behind_a_torn_one(written, tmp_path, monkeypatch):
    assert stream_file._LOOK_EVERY <= 0.5  # a quarter of the two seconds that a line may take
    looks = threading.Semaphore(0)

    class Watched(stream_file.Tail):
        def look(self):
            news = super().look()
            looks.release()
            return news

    monkeypatch.setattr(stream_file, "Tail", Watched)
    run = written([line(1)])
    with run.locked(), listening(tmp_path / "runs") as client:
        stream = Stream(client, "/api/runs/hand/journal")
        stream.wait(1)
        appended(run, json.dumps(line(2))[:40])  # a crash in the middle of a line
        while looks.acquire(blocking=False):
            pass
        assert all(looks.acquire(timeout=30) for _ in range(2))  # of the second one all is after that line
        appended(run, json.dumps(line(2)) + "\n")
        appended(
            run, json.dumps(event("resumed", 1)) + "\n" + json.dumps(line(2, [(0, {"drift": float("nan")})])) + "\n"
        )
        events = stream.wait(3)
        assert [e["event"] for e in events] == ["round", "event", "round"]
        assert json.loads(events[-1]["data"])["clients"][0]["drift"] is None
        assert client.get("/api/runs/hand/journal").json()["unreadable"] == 1
        assert client.get("/api/runs/hand").json()["round"] == 2
        late = Stream(client, "/api/runs/hand/journal", **{"Last-Event-ID": events[1]["id"]})
        assert json.loads(late.wait(1)[0]["data"])["round"] == 2
        run.journal.write_text(json.dumps(line(1)) + "\n")
        events = stream.wait(5)
        assert [e["event"] for e in events[3:]] == ["reset", "round"]


def test_a_stream_says_what_clients_do_within_a_round_and_goes_on_from_the_last_line(written, tmp_path):
    run = written([line(1)])
    with run.locked(), listening(tmp_path / "runs") as client:
        stream = Stream(client, "/api/runs/hand/journal")
        stream.wait(1)
        doing(run, 2, k0="training", k1="requested")
        found = stream.wait(2)[1]
        assert (found["event"], found.get("id")) == ("now", None)
        assert json.loads(found["data"])["clients"] == {"0": "training", "1": "requested"}
        run.now.unlink()
        assert stream.wait(3)[2]["data"] == "null"


def test_streams_end_when_the_server_stops_and_only_so_many_are_open(written, tmp_path):
    run = written([line(1)])
    with run.locked(), listening(tmp_path / "runs", limits=Limits(streams=1)) as client:
        Stream(client, "/api/runs/hand/journal").wait(1)
        answer = client.get("/api/runs/hand/journal", headers={"Accept": "text/event-stream"})
        assert answer.status_code == 429
    # and ``listening`` has seen the server stop


def test_a_reader_that_goes_makes_room_for_another(written, tmp_path):
    run = written([line(1)])
    with run.locked(), listening(tmp_path / "runs", limits=Limits(streams=1)) as client:
        for _ in range(3):
            live = {"Accept": "text/event-stream"}
            with client.stream("GET", "/api/runs/hand/journal", headers=live) as answer:
                assert answer.status_code == 200
                lines = answer.iter_lines()  # with no name it would be closed, and the connection with it
                assert next(lines).startswith("retry")
                assert client.service.streams == 1
            end = time.monotonic() + 20
            while client.service.streams:
                assert time.monotonic() < end
                time.sleep(0.01)


COUNTED = {
    "fedgan_requests": "counter",
    "fedgan_request_seconds": "histogram",
    "fedgan_images": "counter",
    "fedgan_passes": "counter",
    "fedgan_joined_passes": "counter",
    "fedgan_refused": "counter",
    "fedgan_model_loads": "counter",
    "fedgan_waiting_images": "gauge",
    "fedgan_streams": "gauge",
    "fedgan_run_state": "gauge",
    "fedgan_run_round": "gauge",
    "fedgan_run_best_score": "gauge",
}


def counts_of(client):
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def value(family, **labels):
    return sum(sample.value for sample in family.samples if labels.items() <= sample.labels.items())


def test_metrics_are_prometheus_text_with_patterns_instead_of_paths(client):
    client.get("/api/runs/digits")
    client.get("/whatever/somebody/asks")
    found = counts_of(client)
    assert {name: family.type for name, family in found.items()} == COUNTED
    assert value(found["fedgan_requests"], method="GET", route="/api/runs/{run}", status="200") >= 1
    assert value(found["fedgan_run_state"], run="digits", state="finished") == 1
    assert value(found["fedgan_run_round"], run="digits") == 3
    assert "somebody" not in client.get("/metrics").text


def test_seconds_until_an_answer_are_a_histogram(client):
    client.get("/healthz")
    samples = [s for s in counts_of(client)["fedgan_request_seconds"].samples if s.labels["route"] == "/healthz"]
    buckets = [(float(s.labels["le"]), s.value) for s in samples if s.name == "fedgan_request_seconds_bucket"]
    (count,) = [s.value for s in samples if s.name == "fedgan_request_seconds_count"]
    assert buckets == sorted(buckets)
    assert [count for _, count in buckets] == sorted(count for _, count in buckets)
    assert buckets[-1] == (float("inf"), count)
    assert count >= 1


def test_each_application_counts_its_own(written, tmp_path):
    written([line(1)])
    with listening(tmp_path / "runs") as first, listening(tmp_path / "runs") as second:
        first.get("/healthz")
        assert value(counts_of(first)["fedgan_requests"], route="/healthz") == 1
        assert value(counts_of(second)["fedgan_requests"], route="/healthz") == 0


def test_the_pages_need_nothing_from_elsewhere(client):
    for path in ("/", "/docs", "/docs.css"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "//" not in answer.text.replace("http://127.0.0.1:8808", "")
    assert "<b>POST</b> /api/runs/{run}/generate" in client.get("/docs").text


def test_a_client_is_shown_with_the_name_of_its_site(written, tmp_path):
    run = written([line(1, [(0, {}), (1, {})])], clients=2)
    reported = json.loads(run.partition.read_text())
    reported["clients"][1]["site"] = "hospital-b"
    run.partition.write_text(json.dumps(reported))
    with listening(tmp_path / "runs") as client:
        rows = client.get("/api/runs/hand").json()["client-table"]
    assert [row["site"] for row in rows] == ["", "hospital-b"]
