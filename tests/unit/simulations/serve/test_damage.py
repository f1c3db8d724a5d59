"""Whatever stands in a run folder, each address answers with what it can and says why; no other run is touched."""

import json
import os
import shutil
from pathlib import Path

import pytest

from simulations.commands import main
from simulations.runs.run_reader import RunReader
from simulations.serve import library
from simulations.serve.summaries import partition_of, read_detail, read_summary
from tests.unit.simulations.serve.conftest import doing, event, line, listening
from tests.unit.simulations.serve.damage import DAMAGE, INSTEAD, deep, variants

SCORES = {
    "fid": 20.0,
    "score": 5.0,
    "client-fid": [30.0, None],
    "worst-client": 0,
    "worst-client-fid": 30.0,
    "federated-fid": 25.0,
    "worst-class": 1,
    "worst-class-fid": 40.0,
    "per-class-recall": [0.5] * 9 + [None],
    "worst-class-recall": 0.5,
    "worst-recalled-class": 0,
    "federated-clients": [0, 1],
    "memorisation": [0.9, None],
    "memorisation-error": [0.1, None],
    "most-memorised": 0,
    "most-memorised-ratio": 0.9,
}
WITH = {"extractor": "mnist-cnn", "num-samples": 200}
CLIENT = {"d-real": 1.0, "d-fake": -1.0}
LINE = line(1, [(0, CLIENT), (1, CLIENT)], [(1, "late")], **SCORES) | {"scored-with": WITH}
SUMMARY = {"rounds": 2, "examples-seen": 32, "class-names": list("abcdefghij"), "scores": SCORES, "scored-with": WITH}


def full(written, name="damaged"):
    """Returns a finished run that has all that a record can have."""
    rows = [LINE, event("round-repeated", 1, "late", refused=[{"partition": 1, "reason": "late"}])]
    run = written([*rows, LINE | {"round": 2}], name, summary=SUMMARY, clients=2)
    reported = json.loads(run.partition.read_text()) | {"class-names": list("abcdefghij")}
    run.partition.write_text(json.dumps(reported))
    doing(run, 3, k0="training", k1="requested")
    return run


FILES = ["config.toml", "partition.json", "summary.json", "journal.jsonl", "now.json"]
FILES += ["samples/round-0001.png", "checkpoints/round-0003.safetensors", "samples", "checkpoints", ".lock"]
REPORTED = FILES[:5]
KEPT_BY = {"deep and whole": ["journal.jsonl", "summary.json", "partition.json"]}
"""What is damage to each file of these only: others take it for what it is."""
ROUTES = ["", "/partition", "/journal", "/samples/1.png", "/samples/2.png"]


@pytest.fixture(scope="module")
def beside(trained, tmp_path_factory):
    """Returns a client of a server of two runs, the second of which is damaged and mended."""
    folder = tmp_path_factory.mktemp("both")
    for name in ("sound", "damaged"):
        shutil.copytree(trained / "digits", folder / name)
    with listening(folder) as client:
        client.folder = folder
        yield client


def answers(client, run):
    """Returns what each address says of a run: its status, and its body."""
    found = {route: client.get(f"/api/runs/{run}{route}") for route in ROUTES}
    live = {"Accept": "text/event-stream"}
    found["stream"] = client.get(f"/api/runs/{run}/journal", headers=live)  # of a run that is over: it ends
    found["images"] = client.post(f"/api/runs/{run}/generate", json={"num": 2})
    return {route: (answer.status_code, answer.content) for route, answer in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_damaged_is_named_and_touches_no_other_run(beside, trained, file):
    sound, summary = answers(beside, "sound"), beside.get("/api/runs").json()["runs"][1]
    assert {status for status, _ in sound.values()} == {200}
    for name, damage in DAMAGE.items():
        place = beside.folder / "damaged"
        shutil.rmtree(place)
        shutil.copytree(trained / "digits", place)
        if file == "now.json":
            (place / file).write_text('{"round": 4, "since": 1.0, "clients": {}}')
        if (place / file).is_dir() and name not in INSTEAD:
            continue
        damage(place / file)
        found = answers(beside, "damaged")
        assert all(status < 500 for status, _ in found.values()), (name, found)
        listed = {run["id"]: run for run in beside.get("/api/runs").json()["runs"]}
        assert listed["sound"] == summary
        reported = json.loads(found[""][1])
        assert "defect" not in reported["problem"], reported["problem"]
        assert reported == reported | listed["damaged"]
        if file in REPORTED and file in KEPT_BY.get(name, [file]):
            signs = [sign["words"] for sign in reported["signs"] if sign["kind"] == "record"]
            assert any(words.startswith(file) for words in signs), (name, signs)
            assert (file == "config.toml") == reported["problem"].startswith(file)
    assert answers(beside, "sound") == sound
    assert beside.get("/metrics").status_code == 200


@pytest.mark.parametrize("name", ["empty", "zeros", "a list", "deep", "a folder", "a pipe"])
def test_a_file_that_is_damaged_is_named(written, name):
    for file in REPORTED:
        run = full(written, f"{name} {file}".replace(" ", "-"))
        DAMAGE[name](run.path / file)
        found = read_detail(RunReader("damaged", run))
        signs = [sign.words for sign in found.signs if sign.kind == "record"]
        assert any(words.startswith(file) for words in signs), (file, signs)
        assert (file == "config.toml") == found.problem.startswith(file)
        found.model_dump_json(by_alias=True)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["partition.json", "summary.json", "now.json", "journal.jsonl"])
def test_a_key_that_is_gone_or_holds_anything_else_costs_no_more_than_itself(written, file):
    run = full(written)
    path, rows = run.path / file, (run.path / file).read_text().splitlines()
    whole = json.loads(rows[0]) if file == "journal.jsonl" else json.loads(path.read_text())
    record = RunReader("damaged", run)
    assert read_summary(record).problem == ""
    for reported in (*variants(whole), whole | {"a-newer-key": deep(5)}, whole | {"a-newer-key": deep(200)}):
        text = json.dumps(reported)
        path.write_text("\n".join([text, *rows[1:]]) + "\n" if file == "journal.jsonl" else text)
        found = read_detail(record)
        assert found.problem == "", text
        json.loads(found.model_dump_json(by_alias=True))
        partition_of(record.view()).model_dump_json(by_alias=True)
        assert found.round == 2


def test_a_configuration_of_which_a_part_is_unknown_reports_the_rest_and_the_journal_what_it_does_not(written):
    run = full(written)
    text = run.config.read_text()
    run.config.write_text(text.replace('model = "', 'model = "vae-').replace("[data]", "[data]\nhue = 3"))
    found = read_summary(RunReader("damaged", run))
    assert found.problem.startswith("config.toml: data.hue=3: no such key")
    assert (found.model[:4], found.rounds, found.clients, found.algorithm[:6]) == ("vae-", 10, 2, "fedavg")
    assert found.images.conditional is None
    run.config.write_text("model = ")
    found = read_summary(RunReader("damaged", run))
    assert found.problem.startswith("config.toml is not TOML")
    assert (found.model, found.rounds, found.progress, found.round, found.clients) == (None, None, 1.0, 2, 2)
    run.summary.unlink()
    run.partition.unlink()
    run.config.unlink()
    found = read_summary(RunReader("damaged", run))
    assert (found.problem, found.progress, found.clients, found.seed) == ("config.toml is gone", None, 2, None)
    assert "its configuration cannot be read" in found.words


def test_names_of_classes_that_are_no_utf8_are_reported_in_what_can_be_written(written):
    run = full(written)
    names = ["caf\udce9", "\ud800", "a\0b", *"defghij"]
    run.partition.write_text(json.dumps(json.loads(run.partition.read_text()) | {"class-names": names}))
    run.summary.write_text(json.dumps(SUMMARY | {"class-names": names}))
    run.journal.write_text(json.dumps(event("stopped", 0, "class caf\udce9")) + "\n")
    found = read_detail(RunReader("damaged", run))
    assert found.images.class_names[:2] == ["caf\\xe9", "\\ud800"]
    assert found.incidents[0].why == "class caf\\xe9"
    found.model_dump_json()


def test_what_nobody_has_foreseen_is_said_of_the_run_that_it_is_about(written, tmp_path, monkeypatch, caplog):
    written([line(1)], "sound"), full(written)
    view = RunReader.view
    monkeypatch.setattr(RunReader, "view", lambda self: 1 / 0 if self.name == "damaged" else view(self))
    with listening(tmp_path / "runs") as client:
        damaged, sound = client.get("/api/runs").json()["runs"]
        assert (damaged["id"], sound["problem"]) == ("damaged", "")
        assert "ZeroDivisionError" in damaged["problem"]
        assert client.get("/api/runs/damaged").json()["words"] == damaged["words"]
    assert "the record of run 'damaged' cannot be shown" in caplog.text


def test_a_run_that_is_removed_or_called_oddly_is_listed_all_the_same(written, tmp_path, monkeypatch):
    monkeypatch.setattr(library, "_LOOK_EVERY", 1e9)  # else a run that is gone is none any more, after a while
    runs = tmp_path / "runs"
    full(written, "sound")
    for name in (b"caf\xe9", b"a b", b"it's", b'"x"', b"50%", b"#?&", "ü".encode()):
        shutil.copytree(runs / "sound", os.fsdecode(os.fsencode(runs) + b"/" + name))
    gone = full(written, "gone")
    with listening(runs) as client:
        names = [run["id"] for run in client.get("/api/runs").json()["runs"]]
        assert len(names) == 9
        shutil.rmtree(gone.path)
        for name in names:
            assert all(status < 500 for status, _ in answers(client, name).values())
        assert client.get("/api/runs/gone").json()["problem"] == "config.toml is gone"


@pytest.mark.slow
@pytest.mark.parametrize("file", [*REPORTED[:2], "summary.json", "journal.jsonl", "checkpoints/round-0003.safetensors"])
def test_a_command_names_the_file_that_is_damaged(trained, tmp_path, capsys, file):
    picture = ["--num", "1", "--out", str(tmp_path / "a.png")]
    commands = [["report"], ["generate", *picture], ["generate", "--round", "best", *picture]]
    commands += [["export", "--to", "dataset", "--num", "2", "--out", str(tmp_path / "set")]]
    commands.append(["evaluate", "--num", "100", "--metrics", "score"])
    for name in ("zeros", "noise", "a list", "deep and whole", "a folder", "a pipe"):
        run = tmp_path / "digits"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(trained / "digits", run)
        DAMAGE[name](run / file)
        failed = 0
        for command, *options in commands:
            shutil.rmtree(tmp_path / "set", ignore_errors=True)
            code = main._run([command, str(run), *options], debug=False)
            reported = capsys.readouterr().err
            assert "a defect" not in reported, (name, command, reported)
            failed += code != 0 and Path(file).name in reported
        assert failed or file.startswith("checkpoints"), name  # of those, an earlier one is taken, and the log says so


def test_a_socket_or_pipe_in_place_of_a_picture_is_no_file_to_inspect(tmp_path, capsys):
    path = tmp_path / "a.png"
    os.mkfifo(path)
    assert main._run(["inspect", str(path)], debug=False) == 2
    assert "is no file" in capsys.readouterr().err
