"""How long a run will go on."""

import pytest

from common.config import RunConfig
from server.records import time_left
from server.records.time_left import Pace, is_scored, num_scored, roughly


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 s"), (1.24, "1.2 s"), (12.4, "12 s"), (59.7, "1 min"), (719, "12 min"), (3599, "1 h 0 min"),
        (12_000, "3 h 20 min"), (86_400, "1 d 0 h"), (187_200, "2 d 4 h"),
    ],
)  # fmt: skip
def test_a_time_is_said_as_people_say_it(seconds, words):
    assert roughly(seconds) == words


def paced(monkeypatch, rounds, each, evaluate, **changes):
    """Returns a pace after some rounds of a run, of ``each`` seconds and as long as ``evaluate`` says to score."""
    clock = [100.0]
    monkeypatch.setattr(time_left.time, "perf_counter", lambda: clock[0])
    config = RunConfig.from_flat({"federation.num-rounds": 30, **changes})
    found = Pace(config)
    for round in rounds:
        scoring = evaluate if is_scored(config, round) else 0.0
        clock[0] += each + scoring
        found.add(round, scoring)
    return found


def test_after_the_first_round_it_is_said_how_long_the_run_will_take(monkeypatch):
    found = paced(monkeypatch, [1], 24.0, 6.0)
    assert found.left() == pytest.approx(29 * 24 + 6 * 6)  # rounds 5, 10, ... are scored
    assert found.estimate() == "about 12 min for the 29 rounds left at 25 s a round, and the final scores"
    assert paced(monkeypatch, [1, 2], 24.0, 6.0).estimate() is None  # once


def test_a_run_that_goes_on_counts_what_is_left(monkeypatch):
    assert paced(monkeypatch, [29], 90.0, 0.0).estimate() == ("about 2 min for the 1 round left, and the final scores")


def test_a_short_run_needs_no_estimate(monkeypatch):
    assert paced(monkeypatch, [1], 1.0, 0.1).estimate() is None


def test_nothing_is_left_after_the_last_round(monkeypatch):
    assert paced(monkeypatch, range(1, 31), 1.0, 5.0).left() == 0


def test_one_slow_round_says_little(monkeypatch):
    found = paced(monkeypatch, [1, 2, 3], 10.0, 0.0, **{"evaluation.every": 0})
    found._rounds[0] = 500.0
    assert found.left() == pytest.approx(27 * 10)


@pytest.mark.parametrize("every", [0, 1, 2, 3, 7])
def test_scored_rounds_are_counted_as_one_by_one(every):
    for last in range(1, 9):
        config = RunConfig().replaced({"evaluation.every": every, "federation.num-rounds": last})
        for done in range(last + 1):
            assert num_scored(config, done) == sum(is_scored(config, round) for round in range(done + 1, last + 1))


def test_the_journal_reports_what_the_log_says_of_the_time_left():
    config = RunConfig().replaced({"federation.num-rounds": 10, "evaluation.every": 3})
    scored = {1: 30.0, 3: 10.0}  # of the rounds to come 6, 9 and 10 will be, at a median of 20 s
    lines = [
        {"round": round, "seconds": {"train": train, "aggregate": 1.0, "evaluate": scored.get(round, 0.0)}}
        for round, train in ((1, 9.0), (2, 1.0), (3, 2.0), (4, 3.0))
    ]
    assert time_left.seconds_left_after(config, lines) == 6 * 3.5 + 3 * 20.0
    assert time_left.seconds_left_after(config, lines[1:2]) == 8 * 2.0  # scoring has not been seen yet
