"""``--engine auto``: rounds of the run are the trial, what it finds is kept, and no bit hangs on it."""

import json
import logging
import math

import pytest

from common.config import RunConfig
from server.records import journal, run_directory
from simulations.runtime import batched, engine_choice, engine_memory, in_process
from simulations.runtime.engine_choice import ALONE, FasterOfTwo, rows_before, together
from simulations.runtime.in_process import simulate
from simulations.runtime.process_pool import WorkerDiedError

CONFIG = RunConfig.from_flat({"federation.num-rounds": 100, "federation.num-clients": 4})


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """Returns the folder in which choices are kept."""
    monkeypatch.setenv("FEDGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Workers:
    """In place of processes."""

    def __init__(self):
        self.num, self.closed, self.dead = 0, 0, False

    def begin(self, num):
        self.num = num
        return self

    def __call__(self, message, context):
        if self.dead:
            raise WorkerDiedError("it has died")
        return "process"

    def close(self):
        self.closed += 1


def run(faster, clock, seconds, numbers, num_clients=4):
    """Trains rounds, each of so many seconds by whom it is trained; returns who trained them."""
    who = []
    for number in numbers:
        with faster.round(str(number), num_clients):
            who.append(faster(None, None))
            clock.now += seconds[who[-1]](number) if callable(seconds[who[-1]]) else seconds[who[-1]]
    return who


@pytest.fixture
def begun(monkeypatch):
    monkeypatch.setattr(engine_choice, "client_app", lambda message, context: "thread")
    monkeypatch.setattr(engine_choice, "free_memory", lambda: 10**12)
    workers, clock = Workers(), Clock()

    def make(config=CONFIG, num=2):
        return FasterOfTwo(config, num, workers.begin, clock)

    return make, workers, clock


T, P = "thread", "process"
TRIAL = [T, T, P, P, T, T, P, P, T, T, P]


@pytest.mark.parametrize(("fast", "chosen"), [(7.7, P), (7.8, T), (9.0, T)])
def test_rounds_of_either_engine_in_turn_are_the_trial_and_the_faster_one_goes_on(kept, begun, caplog, fast, chosen):
    make, workers, clock = begun
    drift = {T: lambda number: 8.0 * (1 + number / 50), P: lambda number: fast * (1 + number / 50)}  # hits both
    faster = make()
    with caplog.at_level(logging.INFO):
        assert run(faster, clock, drift, range(1, 31)) == TRIAL + [chosen] * 19
    (line,) = [record.getMessage() for record in caplog.records]
    name = "processes" if chosen == P else "threads"
    assert line.startswith(f"engine: {name}, as rounds in processes were {8 / fast:.2f} times as fast as in threads (")
    assert (workers.num, workers.closed) == (2, chosen == T)
    (choice,) = json.loads((kept / "engines.json").read_text())["choices"]
    assert (choice["engine"], choice["job"]["workers"], choice["job"]["local.steps"]) == (name, 2, CONFIG.local.steps)
    assert math.isclose(choice["ratio"], 8 / fast, rel_tol=0.02)
    assert math.isclose(choice["seconds"], 2 * (1 + 7.5 / 50), rel_tol=1e-6)  # of rounds 5, 6, 9 and 10


def test_what_was_found_is_taken_the_next_time_for_this_job_alone(kept, begun, caplog):
    make, _, clock = begun
    run(make(), clock, {T: 8.0, P: 4.0}, range(1, 13))
    with caplog.at_level(logging.INFO):
        assert run(make(), clock, {T: 8.0, P: 4.0}, range(1, 4)) == [P, P, P]
    assert "engine: processes, as in a trial on " in caplog.records[-1].getMessage()
    other = CONFIG.replaced({"local.steps": CONFIG.local.steps + 1})
    assert run(make(other), clock, {T: 8.0, P: 4.0}, range(1, 12)) == TRIAL
    assert run(make(num=3), clock, {T: 8.0, P: 9.0}, range(1, 13)) == [*TRIAL, T]
    assert run(make(num=3), clock, {T: 8.0, P: 9.0}, range(1, 11)) == [T] * 10
    rest = CONFIG.replaced({"federation.num-rounds": 6})  # 48 seconds: to begin processes would take too many of them
    assert run(make(rest), clock, {T: 8.0, P: 4.0}, range(1, 7)) == [T] * 6


@pytest.mark.parametrize(
    ("changes", "num", "seconds", "memory", "why"),
    [
        ({"federation.num-rounds": 15}, 2, 100.0, 10**12, "15 rounds are too few to try processes"),
        ({}, 2, 1.4, 10**12, "the run takes some 137 s, too few to try processes"),
        ({}, 2, 100.0, 1_900_000_000, "memory is short for 2 processes"),
        ({}, 1, 100.0, 10**12, ""),
    ],
)
def test_processes_are_not_tried_where_they_would_not_pay(
    kept, begun, monkeypatch, caplog, changes, num, seconds, memory, why
):
    make, workers, clock = begun
    monkeypatch.setattr(engine_choice, "free_memory", lambda: memory)
    with caplog.at_level(logging.INFO):
        assert run(make(CONFIG.replaced(changes), num), clock, {T: seconds}, range(1, 10)) == [T] * 9
    assert [record.getMessage() for record in caplog.records] == ([f"engine: threads, as {why}"] if why else [])
    assert not workers.num
    assert not kept.exists()


def test_a_client_whose_process_dies_is_trained_in_a_thread_and_so_are_all_after_it(kept, begun, caplog):
    make, workers, clock = begun
    workers.dead = True
    assert run(make(), clock, {T: 8.0}, range(1, 10)) == [T] * 9
    assert [r.getMessage() for r in caplog.records] == ["engine: threads from here on, as it has died"]
    assert workers.closed


def test_where_no_process_can_begin_the_run_goes_on_in_threads(kept, begun, caplog):
    make, workers, clock = begun

    def begin(num):
        raise OSError("no room")

    workers.begin = begin
    with caplog.at_level(logging.INFO):
        assert run(make(), clock, {T: 8.0}, range(1, 10)) == [T] * 9
    assert [r.getMessage() for r in caplog.records] == ["engine: threads, as processes cannot begin: no room"]


def test_a_file_that_cannot_be_read_is_as_none_and_is_written_anew(kept):
    kept.mkdir()
    job = engine_memory.job_of(CONFIG, 2, "cpu")
    for content in ("{", "[]", '{"choices": [{"job": {}}]}'):
        (kept / "engines.json").write_text(content)
        assert engine_memory.recall(job) is None
    engine_memory.remember(job, "processes", 1.5, 2.0)
    assert engine_memory.recall(job).ratio == 1.5
    engine_memory.remember(job, "threads", 0.5, 2.0)
    assert engine_memory.recall(job).engine == "threads"
    assert len(json.loads((kept / "engines.json").read_text())["choices"]) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("no_reports")
def test_a_run_with_a_trial_has_the_bits_and_the_journal_of_one_without(small, kept, monkeypatch, caplog):
    monkeypatch.setattr(engine_choice, "_LEAST_SECONDS", 0.0)
    configs = [
        small(name, federation__num_rounds=16, local__moments="keep", federation__fraction=0.5, evaluation__every=0)
        for name in ("alone", "tried")
    ]
    with caplog.at_level(logging.INFO):
        for config, engine in zip(configs, ("threads", "auto"), strict=True):
            simulate(config, num_workers=2, engine=engine)
    assert "as rounds in processes were" in caplog.text
    runs = [run_directory.resolve(config.output.dir) for config in configs]
    assert len({run.read_summary()["weights-sha256"] for run in runs}) == 1
    assert journal.events(runs[0].journal) == journal.events(runs[1].journal)
    one, other = ([strip(line) for line in journal.read(run.journal)] for run in runs)
    assert one == other


def strip(line):
    """Returns a journal's line without what a clock says."""
    clients = [{key: value for key, value in client.items() if key != "seconds"} for client in line["clients"]]
    return {**line, "seconds": None, "clients": clients}


@pytest.mark.usefixtures("no_reports")
def test_a_run_that_goes_on_keeps_to_clients_together_or_by_themselves(small, monkeypatch):
    opened = []
    monkeypatch.setattr(
        batched, "open_barriers", lambda config, how, workers, rows, devices: opened.append((how, rows))
    )
    monkeypatch.setattr(in_process, "server_app", lambda grid, context: noted.append(grid.engine))
    config, noted = small(output__resume=True), []
    path = run_directory.resolve(config.output.dir).journal
    assert rows_before(config) is None
    path.parent.mkdir()
    path.touch()
    assert rows_before(config) is None
    monkeypatch.setattr(journal, "read", lambda path: ["a round"])
    assert rows_before(config) == 0
    simulate(config, engine="fastest")
    assert (opened, noted) == ([], [""])
    journal.note(path, "engine", 0, together(5))
    assert rows_before(config) == 5
    simulate(config, engine="auto")
    simulate(config, engine="batched", num_rows=3)
    assert opened == [("batched", 5), ("batched", 3)]
    simulate(config, engine="threads")
    assert (len(opened), noted[-1]) == (2, ALONE)
    journal.note(path, "engine", 3, ALONE)
    assert rows_before(config) == 0
