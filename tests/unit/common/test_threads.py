"""Tasks that run side by side."""

import threading

import pytest
import torch

from common import threads
from common.seeding import torch_generator
from common.threads import limited_to, side_by_side


@pytest.fixture(params=[1, 2, 3, 64])
def cores(request, monkeypatch):
    monkeypatch.setattr(threads, "available_cores", lambda: request.param)
    return request.param


def test_results_are_in_the_order_of_the_tasks_and_the_same_bits_on_any_number_of_cores(cores):
    def product(k):
        return torch.randn(200, 200, generator=torch_generator(k, "task")).matrix_power(3)

    found = side_by_side([lambda k=k: product(k) for k in range(7)])
    assert all(torch.equal(value, product(k)) for k, value in enumerate(found))
    assert side_by_side([]) == []


def test_no_more_threads_run_than_there_are_cores_and_each_has_the_callers_intra_op_threads(cores):
    together = threading.Barrier(min(cores, 8), timeout=20)

    def task():
        together.wait()  # as many at a time as there are cores, or it breaks
        return threading.get_ident(), torch.get_num_threads()

    found = side_by_side([task] * 8 if cores in (1, 2, 64) else [task] * 9)
    assert len({ident for ident, _ in found}) == min(cores, 8)
    assert {number for _, number in found} == {torch.get_num_threads()}


def test_cores_that_the_callers_own_operations_use_are_not_used_twice(monkeypatch):
    monkeypatch.setattr(threads, "available_cores", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert set(side_by_side([threading.get_ident] * 5)) == {threading.get_ident()}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_or_interrupt_is_raised_and_what_has_not_begun_is_dropped(monkeypatch, error):
    monkeypatch.setattr(threads, "available_cores", lambda: 2)
    begun, go_on = threading.Event(), threading.Event()
    done = []

    def first():
        assert begun.wait(20)
        go_on.set()
        raise error("no")

    def second():
        begun.set()
        assert go_on.wait(20)
        done.append("second")

    def fail_late():
        raise ValueError("late")

    with pytest.raises(error, match="no"):
        side_by_side([first, second, lambda: done.append("third")])
    assert done == ["second"]  # and it is over
    with pytest.raises(ValueError, match="late"):
        side_by_side([lambda: None, fail_late])


def test_a_number_of_intra_op_threads_is_kept_for_a_while_and_the_one_before_comes_back():
    before = torch.get_num_threads()
    with limited_to(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(RuntimeError, match="in between"), limited_to(before + 1):
        raise RuntimeError("in between")
    assert torch.get_num_threads() == before
