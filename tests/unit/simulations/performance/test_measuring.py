"""What benchmarks measure with: rounds that stop, clocks that add up, sides that take turns."""

from types import SimpleNamespace

import pytest
import torch

from common.config import RunConfig
from simulations.performance import overhead
from simulations.performance.federation import Federation
from simulations.performance.figures import Figure, in_turn
from simulations.performance.loops import Copying, HandWritten
from simulations.performance.overhead import PARTS, Clock

TINY = RunConfig().replaced(
    {"model": "dcgan width=4", "federation.num-clients": 2, "local.steps": 1, "local.batch-size": 2, "output.dir": "."}
)


def test_sides_take_turns_and_change_their_order():
    called = []
    sides = [lambda name=name: called.append(name) or float(len(called)) for name in "ab"]
    assert in_turn(2, *sides) == [(1.0, 2.0), (4.0, 3.0)]
    assert called == ["a", "b", "b", "a"]


def test_a_federation_runs_as_many_rounds_as_are_requested_and_leaves_nothing(no_reports):
    with Federation(TINY, 1) as federation:
        assert len(federation.lines()) == 1
        seconds = federation.round(2)
        lines = federation.lines()
        folder = federation._folder
    assert [line["round"] for line in lines] == [1, 2, 3]
    assert seconds > sum(sum(line["seconds"].values()) for line in lines[1:]) * 0.5
    assert not folder.exists()


def test_a_federation_that_fails_says_so():
    with pytest.raises(RuntimeError, match="the run has failed"):
        Federation(TINY.replaced({"data.name": "mnist", "data.root": "/nowhere"}), 1)


def test_a_round_of_the_loop_over_copies_moves_the_shared_weights():
    copying = Copying(TINY, 1)
    before = [p.clone() for p in copying._networks.parameters()]
    assert copying.round() > 0
    assert any(not torch.equal(old, new) for old, new in zip(before, copying._networks.parameters(), strict=True))


def test_the_loop_shares_all_steps_out_over_its_threads():
    loop = HandWritten(TINY, 2)
    counts = []
    for worker in loop._workers:
        worker.step = lambda batch, worker=worker: counts.append(worker)
    loop.run(5)
    assert len(counts) == 5
    assert len(set(map(id, counts))) == 2


def test_a_clock_counts_no_second_twice(monkeypatch):
    now = [100.0]

    def work(seconds):
        now[0] += seconds

    monkeypatch.setattr(overhead, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    clock = Clock()
    inner = clock.timed("inner", lambda: work(2.0))
    outer = clock.timed("outer", lambda: (work(1.0), inner(), work(4.0), inner()))
    outer()
    inner()
    assert clock.seconds == {"inner": 6.0, "outer": 5.0}


def test_every_part_of_a_round_is_there_to_be_timed():
    with Clock().watching():
        assert all(callable(getattr(owner, name)) for calls in PARTS.values() for owner, name in calls)


def test_a_figure_of_one_value_has_no_range():
    assert str(Figure(key="k", what="w", values=(0.5,), unit="ms")) == "0.5 ms"
    assert str(Figure(key="k", what="w", values=(3.0, 1.0, 2.0))) == "2 (1 to 3)"
