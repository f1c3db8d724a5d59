"""How long a round waits, and how that is said."""

import pytest

from server.clients.deadlines import Patience, duration, listed


@pytest.fixture
def patience():
    return Patience()


def test_a_fixed_time_is_everybody_s():
    patience = Patience(40.0)
    patience.answered(0, 1000.0)
    assert patience.of(0) == patience.of(1, away=True) == 40.0
    assert patience.late(0) == "no reply within federation.round-seconds=40"


def test_who_never_answered_has_an_hour(patience):
    assert patience.of(0) == 3600.0
    assert patience.of(0, away=True) == 3600.0  # nobody knows yet what a round takes
    assert "no reply within 1 h, and it never answered before" in patience.late(0)


def test_a_client_has_a_multiple_of_what_it_usually_takes(patience):
    for seconds in (100.0, 120.0, 110.0):
        patience.answered(0, seconds)
    assert patience.of(0) == patience.of(0, away=True) == 550.0
    assert patience.of(1) == 3600.0
    assert "no reply within 9 min 10 s, and it usually takes 1 min 50 s" in patience.late(0)


def test_short_rounds_leave_time_for_a_site_to_come_back(patience):
    patience.answered(0, 2.0)
    assert patience.of(0) == 240.0


def test_one_slow_round_and_one_slow_client_change_nobody_else_s_time(patience):
    for seconds in (100.0, 100.0, 3000.0):
        patience.answered(0, seconds)
    patience.answered(1, 900.0)
    assert (patience.of(0), patience.of(1)) == (500.0, 4500.0)


def test_who_got_lost_before_it_ever_answered_has_what_suits_the_slowest_of_the_others(patience):
    patience.answered(0, 10.0)
    patience.answered(1, 100.0)
    assert patience.of(2) == 3600.0
    assert patience.of(2, away=True) == 500.0


def test_where_nobody_can_get_lost_a_slow_machine_loses_nobody(patience):
    patience.can_lose = False
    patience.answered(0, 1.0)
    assert patience.of(0) == 3600.0


def test_only_the_last_answers_count(patience):
    for seconds in [1000.0] * 10 + [100.0] * 25:
        patience.answered(0, seconds)
    assert patience.of(0) == 500.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (-3, "0 s"), (0.2, "1 s"), (59.5, "1 min"), (250, "4 min 10 s"), (3600, "1 h"), (3900, "1 h 5 min")],
)
def test_times_are_said_in_words(seconds, words):
    assert duration(seconds) == words


def test_long_lists_are_cut():
    assert listed("abc") == "a, b, c"
    assert listed("abcd", 2) == "a, b and 2 more"
