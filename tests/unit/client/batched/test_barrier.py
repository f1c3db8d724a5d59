"""Where clients meet: who waits for whom, and who gets what."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest

from client.batched import barrier as module
from client.batched.barrier import CohortBarrier


class StackedWeights:
    """Stands for a stacked: a fit returns each client's request, or raises what it asks for."""

    made: ClassVar[list] = []

    def __init__(self, num_rows, make):
        self.fits = []
        self.made.append(self)

    def member(self, number, fit):
        return StackedTrainer(number, fit)

    def fit(self, members, requests):
        self.fits.append([member.number for member in members])
        return list(requests)


class StackedTrainer:
    def __init__(self, number, fit):
        self.number, self._fit = number, fit

    def ask(self, request):
        return self._fit(self, request)


@pytest.fixture
def meeting(monkeypatch):
    """Returns a function that has clients visit a barrier, each in a thread of its own, and returns what they get."""
    monkeypatch.setattr(module, "StackedWeights", StackedWeights)
    monkeypatch.setattr(StackedWeights, "made", [])
    barrier = CohortBarrier(3)
    members = [barrier.member(number, "make") for number in range(3)]

    def meet(*requests):
        barrier.expect(len(requests))

        def visit(member, requests_of_one):
            try:
                with barrier.visit():
                    return [member.ask(request) for request in requests_of_one]
            except ValueError as error:
                return error

        with ThreadPoolExecutor(len(requests)) as pool:
            futures = [
                pool.submit(visit, member, requests_of_one)
                for member, requests_of_one in zip(members, requests, strict=False)
            ]
            return [future.result(timeout=20) for future in futures]

    return meet


def test_clients_are_trained_once_all_have_made_a_request_and_each_gets_its_own(meeting):
    assert meeting([{"a": 1.0}], [{"b": 2.0}], [{"c": 3.0}]) == [[{"a": 1.0}], [{"b": 2.0}], [{"c": 3.0}]]
    assert StackedWeights.made[0].fits == [[0, 1, 2]]


def test_one_client_runs_at_a_time_and_others_while_it_waits_to_be_trained(meeting):
    running, most = [], []

    def requests(name):  # made in the client's own part, before it waits and after
        for value in (1.0, 2.0):
            running.append(name)
            threading.Event().wait(0.01)  # lets other threads in, if they may
            most.append(len(running))
            running.remove(name)
            yield {name: value}

    assert meeting(requests("a"), requests("b"), requests("c"))[1] == [{"b": 1.0}, {"b": 2.0}]
    assert most == [1] * 6


def test_whoever_asks_no_more_is_not_waited_for(meeting):
    assert meeting([{"a": 1.0}, {"a": 2.0}], [], [{"c": 3.0}]) == [[{"a": 1.0}, {"a": 2.0}], [], [{"c": 3.0}]]
    assert sorted(map(len, StackedWeights.made[0].fits)) == [1, 2]
    assert StackedWeights.made[0].fits[-1] == [0]


def test_a_clients_error_is_raised_to_that_client_alone(meeting):
    wrong = ValueError("diverged")
    assert meeting([wrong], [{"b": 2.0}]) == [wrong, [{"b": 2.0}]]


def test_nobody_is_left_over_from_one_meeting_to_the_next(meeting):
    for size in (3, 1, 2):
        requests_of_one = [[{"n": float(size)}]] * size
        assert meeting(*requests_of_one) == requests_of_one
    assert StackedWeights.made[0].fits == [[0, 1, 2], [0], [0, 1]]


def test_seats_of_one_model_share_a_table_and_another_model_has_another(meeting):
    barrier = CohortBarrier(2)
    tables = len(StackedWeights.made)
    barrier.member(0, "make")
    barrier.member(1, "make")
    assert len(StackedWeights.made) == tables + 1
    barrier.member(0, "another")
    assert len(StackedWeights.made) == tables + 2
