"""A session on a GPU: limits, what goes on after a failure, what is written as it comes."""

from simulations.tools import gpu_session
from simulations.tools.gpu_session import LONGEST, Step, session, steps


def test_its_limits_are_under_twelve_minutes_and_without_a_gpu_it_is_quick(tmp_path):
    for has_gpu in (False, True):
        todo = steps(tmp_path, "data", has_gpu=has_gpu)
        assert sum(step.limit for step in todo) <= LONGEST
        assert len({step.name for step in todo}) == len(todo)
    (full,) = [step for step in todo if step.name == "p1-full"]
    assert "federation.num-rounds=500 local.steps=100" in full.arguments[-1]
    quick = [step for step in steps(tmp_path, "", has_gpu=False) if "--quick" in step.arguments]
    assert {step.name for step in quick} == {"host", "gpu", "convolutions"}


def test_a_step_that_fails_or_takes_too_long_is_said_and_the_others_run(tmp_path, capsys):
    todo = [
        Step("slow", ("-c", "print('begun', flush=True); import threading; threading.Event().wait()"), 1.5),
        Step("broken", ("-c", "raise SystemExit(3)"), 60),
        Step("good", ("-c", "print('here')"), 60),
    ]
    assert not session(tmp_path, todo)
    lines = (tmp_path / "session.txt").read_text().splitlines()
    assert capsys.readouterr().out.splitlines() == lines
    starts = ["slow: stopped at its limit of 1.5 s", "broken: failed with exit code 3", "good: done"]
    assert [line.startswith(start) for line, start in zip(lines, starts, strict=True)] == [True] * 3
    assert (tmp_path / "good.log").read_text() == "here\n"
    assert session(tmp_path, todo[2:])


def test_the_steps_are_of_this_repository():
    assert (gpu_session.ROOT / "pyproject.toml").exists()
