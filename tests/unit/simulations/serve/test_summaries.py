"""What a run directory says: state, progress, clients and signs of trouble."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simulations.runs import run_reader
from simulations.runs.run_reader import RunReader, held
from simulations.runs.status import state_of
from simulations.serve.alerts import alerts_of
from simulations.serve.clients import client_rows
from simulations.serve.library import Library
from simulations.serve.summaries import detail_of, partition_of, summary_of
from tests.unit.simulations.serve.conftest import doing, event, line

ROOT = Path(__file__).parents[4]
ALL = [(0, {}), (1, {}), (2, {})]


def view_of(run):
    return RunReader("hand", run).view()


def aged(run, seconds=10_000):
    for path in (run.config, run.journal, run.summary):
        if path.exists():
            os.utime(path, (time.time() - seconds,) * 2)
    return run


def test_a_run_is_finished_when_there_is_a_summary_of_its_last_round(written):
    lines = [line(k) for k in range(1, 11)]
    assert state_of(view_of(written(lines, summary={"rounds": 10})))[0] == "finished"
    early = [*lines[:4], event("early-stop", 4, "no better")]
    state, words = state_of(view_of(written(early, "early", summary={"rounds": 4})))
    assert (state, words) == ("finished", "Finished early, after round 4: no better.")


def test_a_summary_of_before_the_run_went_on_does_not_finish_it(written):
    run = aged(written([line(k) for k in range(1, 8)], summary={"rounds": 5}))
    assert state_of(view_of(run))[0] == "failed"


def test_a_run_without_a_process_has_failed_and_says_why_if_it_knows(written):
    run = aged(written([line(1), event("stopped", 1, "2 usable replies of 4")]))
    assert state_of(view_of(run)) == ("failed", "Stopped after round 1: 2 usable replies of 4.")
    run = aged(written([line(1)], "killed"))
    state, words = state_of(view_of(run))
    assert state == "failed"
    assert "can be resumed" in words


def test_a_run_whose_journal_is_lost_is_not_said_to_have_ended_before_its_first_round(written):
    run = aged(written([], summary={"rounds": 2, "scores": {"fid": 9.0}}))
    said = "No process is at work on it, and its journal does not tell how far it came."
    assert state_of(view_of(run)) == ("failed", said)


@pytest.mark.parametrize(
    ("rounds", "said"),
    [
        ([1, 2, 3, 4], "config.toml has 3 round(s), and journal.jsonl has round 4: one of them was changed"),
        ([1, 2, 1, 2], "journal.jsonl has a round more than once, or rounds out of order"),
    ],
)
def test_files_that_do_not_agree_are_a_sign(written, rounds, said):
    run = written([line(k) for k in rounds], **{"federation.num-rounds": 3})
    assert [sign.words.partition(". ")[0] for sign in alerts_of(view_of(run)) if sign.kind == "record"] == [said]


@pytest.mark.skipif(not run_reader._LOCKS.exists(), reason="the system has no table of locks")
def test_a_run_is_at_work_while_a_process_holds_its_lock_and_waits_until_clients_have_answered(written):
    run = written([line(1), line(2)])
    assert not held(run.path / ".lock")
    holder = (  # as RunDirectory.locked, without importing torch
        "import sys, filelock\nwith filelock.FileLock(sys.argv[1]):\n"
        "    print('held', flush=True)\n    sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(run.path / ".lock")], stdin=-1, stdout=-1, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        assert held(run.path / ".lock")
        assert state_of(view_of(run)) == ("waiting for nodes", "Waiting for all 3 clients to connect.")
        os.utime(run.partition, (time.time() + 1,) * 2)
        aged_journal = time.time() - 10_000
        os.utime(run.journal, (aged_journal, aged_journal))
        assert state_of(view_of(run)) == ("running", "Round 3 of 10 is under way.")
        summary = summary_of(view_of(run))
        assert 8 * 1.5 - 1.5 <= summary.seconds_left <= 8 * 1.5
        summary = summary_of(view_of(aged(run)))  # the round that is under way takes longer than the others did
        assert summary.seconds_left == pytest.approx(7 * 1.5)
        process.stdin.close()
    assert held(run.path / ".lock") in (False, None)


def test_where_the_system_has_no_table_of_locks_a_run_whose_record_changes_is_at_work(written, monkeypatch):
    run = written([line(1)])
    monkeypatch.setattr(run_reader, "_LOCKS", Path("/no/such/table"))
    (run.path / ".lock").touch()
    os.utime(run.path / ".lock", (1, 1))
    assert state_of(view_of(run))[0] == "running"
    assert state_of(view_of(aged(run)))[0] == "failed"


def test_a_run_directory_is_never_written_to(trained):
    def content():
        return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(trained.rglob("*"))}

    before = content()
    view = Library(trained).get("digits").view()
    detail_of(view), partition_of(view)
    assert content() == before


def test_a_record_that_changes_is_read_on_and_a_torn_one_does_no_harm(written):
    run = written([line(1)])
    found = RunReader("hand", run)
    assert found.view().last_round == 1
    with run.journal.open("a") as file:
        file.write('{"round": 2, "cli')
    run.summary.write_text('{"rounds":')
    run.partition.write_text("[")
    assert found.view().last_round == 1
    assert found.view().roster == {}
    run.config.write_text("seed = ")
    assert state_of(view_of(aged(run)))[0] == "failed"
    summary_of(view_of(run))
    shutil.rmtree(run.path)
    assert detail_of(found.view()).state == "failed"


def test_curves_and_clients_say_what_the_journal_says(written):
    lines = [
        line(1, [(0, {"d-real": 1.0}), (1, {"d-real": 3.0})], [(2, "it is away")], fid=9.0),
        line(2, [(0, {"d-real": 2.0}), (2, {"drift": float("nan")})], [(1, "the norm of its update")]),
        event("round-repeated", 3, "too few", refused=[{"partition": 1, "reason": "no reply"}]),
    ]
    found = detail_of(view_of(written(lines)))
    assert found.curves.means["d-real"] == [2.0, 2.0]
    assert found.curves.scores["fid"] == [9.0, None]
    assert (found.quality_rounds, found.quality, found.best.round) == ([1], [9.0], 1)
    rows = found.client_table
    assert [row.trained for row in rows] == [2, 1, 1]
    assert rows[1].lost_rounds == [2, 3]
    assert [refusal.reason for refusal in rows[1].refused] == ["the norm of its update", "no reply"]
    assert rows[1].curves["d-real"] == [3.0, None]
    assert rows[2].last["drift"] is None  # JSON has no NaN
    assert [row.weight for row in rows] == [0.5, 0.5, 0.5]
    assert [i.what for i in found.incidents] == ["client 2 left out", "client 1 left out", "round repeated"]


def test_names_of_classes_are_those_of_the_roster_and_numbers_where_it_is_of_before(written):
    run = written([line(1)])
    assert summary_of(view_of(run)).images.class_names == [str(label) for label in range(10)]
    names = [f"class {label}" for label in range(10)]
    run.partition.write_text(json.dumps(json.loads(run.partition.read_text()) | {"class-names": names}))
    assert summary_of(view_of(run)).images.class_names == partition_of(view_of(run)).class_names == names


def test_a_record_that_is_followed_reports_what_one_that_is_read_anew_does(written):
    rows = [
        line(1, [(0, {"d-real": 1.0}), (1, {})]),
        line(2, [(2, {"d-fake": float("nan"), "steps": 3})], [(0, "away")]),
        event("rollback", 1, "worse"),
        line(3, [(0, {"seconds": 2.0}), (2, {"d-fake": 1.0})], fid=3.0),
    ]
    run = written([])
    followed, before = RunReader("hand", run), []
    for count in range(len(rows) + 1):
        run.journal.write_text("".join(json.dumps(row) + "\n" for row in rows[:count]))
        before.append((followed.view(), detail_of(followed.view())))
        assert detail_of(followed.view()) == detail_of(view_of(run))
    assert before[-1][1].client_table[2].curves["d-fake"] == [None, None, 1.0]
    assert all(detail_of(view) == detail for view, detail in before)  # a look is not changed by those after it
    run.journal.write_text(json.dumps(rows[0]) + "\n")
    assert detail_of(followed.view()) == detail_of(view_of(run))


def test_what_clients_do_is_shown_of_the_round_that_is_under_way_only(written):
    run = written([line(1)])
    with run.locked():
        os.utime(run.partition)
        assert detail_of(view_of(run)).now is None
        doing(run, 2, k0="training", k1="answered", k2="away", k3="asked")  # as versions before called "requested"
        now = detail_of(view_of(run)).now
        assert (now.round, now.clients) == (2, {0: "training", 1: "answered", 2: "away", 3: "requested"})
        doing(run, 1, k0="answered")  # of a round whose line is there
        assert detail_of(view_of(run)).now is None
        run.now.write_text('{"round": 2')
        assert detail_of(view_of(run)).now is None
    doing(run, 2, k0="training")  # left by a process that was killed
    assert detail_of(view_of(aged(run))).now is None


def test_weights_are_those_of_the_runs_weighting(written):
    lines = [line(1, [(0, {}), (1, {"num-examples": 120})])]
    assert [row.weight for row in client_rows(view_of(written(lines, "a")))] == [0.25, 0.75, None]
    uniform = client_rows(view_of(written(lines, "b", weighting="uniform")))
    assert [row.weight for row in uniform] == [0.5, 0.5, None]
    median = client_rows(view_of(written(lines, "c", aggregate="median")))
    assert [row.weight for row in median] == [0.5, 0.5, None]
    own = client_rows(view_of(written(lines, "d", algorithm="ifl-gan")))
    assert [row.weight for row in own] == [None] * 3


def kinds(run):
    return {(sign.kind, sign.client) for sign in alerts_of(view_of(run))}


def test_a_healthy_run_has_no_signs_of_trouble(written):
    assert kinds(written([line(k, ALL, fid=100.0 / k, score=8.0) for k in range(1, 8)])) == set()


def test_divergence_collapse_drift_and_refusals_are_said_in_words(written):
    worse = [line(1, ALL, fid=10.0, score=8.0), line(2, ALL, fid=30.0, score=3.0)]
    assert kinds(written(worse, "a")) == {("divergence", None), ("collapse", None)}
    sure = [line(k, [(j, {"d-real": 9.0, "d-fake": -9.0}) for j in range(3)]) for k in range(1, 7)]
    assert kinds(written(sure, "b")) == {("collapse", None)}
    assert kinds(written(sure, "c", objective="wgan")) == set()  # its critic has no such scale
    assert kinds(written([line(1, [*ALL[:2], (2, {"drift": 9.0})])], "d")) == {("drift", 2)}
    assert kinds(written([line(1, ALL[:2], [(2, "it is away")])], "e")) == {("refused", 2)}
    for often, severity in ((4, "warning"), (5, "error")):
        away = [line(k, ALL[:2], [(2, "it is away")] if k > 5 - often else []) for k in range(1, 6)]
        [sign] = alerts_of(view_of(written(away, f"e{often}")))
        assert (sign.severity, f"{often} times in the last 5 rounds" in sign.words) == (severity, True)
    broken = [line(1, [(0, {"generator-loss": float("inf")})])]
    assert kinds(written(broken, "f")) == {("divergence", 0)}
    back = [line(1), event("rollback", 1, "fid 99"), event("stopped", 1, "no more")]
    assert kinds(written(back, "g")) == {("divergence", None), ("stopped", None)}
    recall = {"rounds": 1, "scores": {"per-class-recall": [0.5, 0.01, None]}}
    [sign] = alerts_of(view_of(written([line(1)], "h", summary=recall)))
    assert sign.kind == "collapse"
    assert sign.words.startswith("Of class 1 the generator covers less than 5%")


def test_a_generator_that_has_learned_little_has_not_collapsed(written):
    recall = {"rounds": 1, "scores": {"per-class-recall": [0.2, 0.01, 0.0, None, 0.0]}}
    assert kinds(written([line(1)], "a", summary=recall)) == {("coverage", None)}
    noise = [line(1, ALL, fid=300.0, score=1.9), line(2, ALL, fid=290.0, score=1.0)]
    assert kinds(written(noise, "b")) == set()


def test_places_on_the_host_are_reported_by_their_last_part(written):
    run = written([line(1)], **{"data.root": "/srv/lab/scans", "output.dir": "/home/ann/runs/hand"})
    reported = detail_of(view_of(run))
    assert (reported.config["data.root"], reported.config["output.dir"]) == ("scans", "hand")
    assert not any(place in reported.model_dump_json() for place in ("/srv", "/home", str(run.path.parent)))


def test_names_of_runs_are_looked_up_and_stay_the_same(written, tmp_path):
    written([line(1)], "a"), written([line(1)], "bench/fedavg/seed-0"), written([line(1)], "odd name/ü")
    written([line(1)], ".aside/b"), written([line(1)], "a/within/c")  # hidden, and a part of another run
    root = tmp_path / "runs"
    (root / "link").symlink_to(ROOT)
    names = list(Library(root).all())
    assert names[:2] == ["a", "bench~fedavg~seed-0"]
    assert names == list(Library(root).all())
    assert len(names) == 3
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789~-_.") for name in names)
    assert list(Library(root / "a").all()) == ["a"]
    for path in ("../a", "a/", "bench/fedavg/seed-0", "", ".", str(root / "a")):
        assert Library(root).get(path) is None


def test_a_run_that_ended_says_why_also_before_its_first_round_and_behind_other_remarks(written):
    start = [event("not-scored", 0, "fid is not computed: no extractor"), event("stopped", 0, "the sites do not fit.")]
    assert state_of(view_of(written(start, "a")))[1] == "Stopped before its first round was done: the sites do not fit."
    rows = [line(1), event("stopped", 1, "a full disk"), event("features", 0, "these are no digits")]
    assert state_of(view_of(written(rows, "b")))[1] == "Stopped after round 1: a full disk."
    rows = [line(1), event("stopped", 1, "a full disk"), event("resumed", 1, "")]
    assert "without saying why" in state_of(view_of(written(rows, "c")))[1]


def test_why_there_are_no_scores_is_a_sign(written):
    rows = [event("not-scored", 0, "fid is not computed"), event("features", 0, "no digits")]
    rows += [line(k) for k in range(1, 32)]
    many = {"federation.num-rounds": 40}
    found = {
        (sign.kind, sign.severity, sign.words) for sign in alerts_of(view_of(written([*rows, rows[0]], "a", **many)))
    }
    assert found == {("not-scored", "warning", "Fid is not computed."), ("features", "warning", "No digits.")}
    ended = {"rounds": 10, "scores": {}}
    lines = [line(k) for k in range(1, 11)]
    [sign] = alerts_of(view_of(written(lines, "b", summary=ended)))
    assert (sign.kind, "does not say why" in sign.words) == ("not-scored", True)
    config = {"algorithm": "fedavg sync=discriminator"}
    [sign] = alerts_of(view_of(written(lines, "c", summary=ended, **config)))
    assert "no generator reaches the server" in sign.words
    assert alerts_of(view_of(written(lines, "d"))) == []


def test_scores_and_the_best_say_what_they_were_computed_with(written):
    reported = {"extractor": "mnist-cnn", "num-samples": 2000}
    run = written([line(1, fid=9.0) | {"scored-with": reported}, line(2)])
    found = summary_of(view_of(run))
    assert (found.scored_with.extractor, found.scored_with.num_samples, found.best.num_samples) == (
        "mnist-cnn",
        2000,
        2000,
    )
    of_the_end = reported | {"num-samples": 10_000, "utility-num-samples": 9}  # as limits.Computable.told has it
    final = {"rounds": 2, "scores": {"fid": 8.0}, "scored-with": of_the_end}
    run.summary.write_text(json.dumps(final))
    found = summary_of(view_of(run))
    assert (found.scored_with.num_samples, found.scored_with.own_num_samples) == (10_000, {"utility": 9})
    assert found.best.num_samples == 2000
    old = summary_of(view_of(written([line(1, fid=9.0)], "old")))
    assert (old.scored_with, old.best.num_samples) == (None, None)


def test_what_a_private_run_has_spent_is_in_words_while_it_runs_and_at_its_end(written):
    lines = [line(1) | {"privacy": {"epsilon": 3.14159}}]
    assert detail_of(view_of(written(lines))).privacy.startswith("Epsilon 3.14 is spent after round 1, of ")
    row = {"partition": 0, "epsilon": 9.9, "releases": 6, "noise-multiplier": 1.0, "rate": 0.5, "noise": "system"}
    said = {"privacy": "example", "unit": "example", "neighbours": "n", "mechanism": "m", "clients": [row]}
    said |= {"epsilon": 9.9, "delta": 1e-5, "budget": 10.0}
    words = detail_of(view_of(written(lines, "end", summary={"rounds": 1, "privacy": said}))).privacy
    assert "epsilon 9.90 of 10, delta 1e-05" in words
    assert "the client's own system" in words
    broken = written(lines, "broken", summary={"rounds": 1, "privacy": said | {"clients": [{"partition": 0}]}})
    assert detail_of(view_of(broken)).privacy.startswith("Epsilon 3.14")
    assert detail_of(view_of(written([line(1)], "plain"))).privacy == ""
