"""What hooks answer of a finished round, taken together."""

from types import SimpleNamespace

import pytest

from common.errors import DivergenceError
from common.hooks import GoBack, Keep, RoundHook, Stop
from server.rounds.verdict import verdict


class Answers:
    def __init__(self, answer):
        self.answer, self.num_calls = answer, 0

    def after(self, round):
        self.num_calls += 1
        return self.answer


def outcome_of(*answers, rollbacks=0):
    """Returns what comes of these answers where a run may go back once, how many hooks looked at it, and the notes."""
    hooks, notes = [Answers(answer) for answer in answers], []
    round = SimpleNamespace(rollbacks=rollbacks, number=4)
    found = verdict(hooks, round, 1, SimpleNamespace(add=lambda *note: notes.append(note)))
    return found, sum(hook.num_calls for hook in hooks), notes


def test_a_round_is_kept_unless_a_hook_says_otherwise():
    assert outcome_of() == (Keep(), 0, [])
    assert outcome_of(Keep(), Keep()) == (Keep(), 2, [])


def test_the_first_that_stops_a_run_is_heard_and_so_are_those_after_it():
    assert outcome_of(Stop("one"), Keep(), Stop("two")) == (Stop("one"), 3, [])
    assert outcome_of(Stop("one"), GoBack("two")) == (GoBack("two"), 2, [])


def test_no_further_hook_sees_a_round_that_the_run_goes_back_from():
    assert outcome_of(Keep(), GoBack("worse"), Stop("late")) == (GoBack("worse"), 2, [])


def test_a_run_that_has_gone_back_often_enough_keeps_the_round_where_it_can_be_kept():
    assert outcome_of(GoBack("worse"), Stop("late"), rollbacks=1) == (Stop("late"), 2, [("diverged", 4, "worse")])
    broken = GoBack("broken", DivergenceError("not finite"))
    assert outcome_of(broken, Stop("late"), rollbacks=1) == (broken, 1, [])


def test_a_hook_that_goes_back_must_have_said_that_it_may():
    class Doubt(RoundHook):
        def after(self, round):
            return GoBack("worse")

    with pytest.raises(TypeError, match="may_go_back = False"):
        verdict([Doubt()], SimpleNamespace(rollbacks=0, number=4), 1, SimpleNamespace())
