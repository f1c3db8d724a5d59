"""The command: what it measures, what it keeps, and that the page needs no measurement."""

import json

import pytest

from simulations.performance import __main__ as command
from simulations.performance.bars import BARS
from simulations.performance.figures import Figure
from simulations.performance.page import read_results


def call(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["benchmarks", *map(str, arguments)])
    monkeypatch.setattr(command, "_be_quiet", lambda: None)
    return command.main()


def fake(plan):
    """What is measured.

    And how.
    """
    yield Figure(key="seconds", what="command to first step", values=(1.0,) * plan.times, unit="s")


def test_every_bar_is_about_a_benchmark_that_there_is_and_every_benchmark_says_what_it_is():
    assert {bar.benchmark for bar in BARS} <= set(command.BENCHMARKS)
    assert all(benchmark.__doc__ for benchmark in command.BENCHMARKS.values())


def test_results_are_kept_and_the_page_is_made_without_measuring(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(command.BENCHMARKS, "start", fake)
    monkeypatch.setitem(command.BENCHMARKS, "gpu", fake)
    for name in ("gpu", "start"):
        assert call(monkeypatch, "--only", name, "--repeats", 6, "--json", tmp_path / "p.json") == 0
    assert "command to first step: 1 s (1 to 1)" in capsys.readouterr().out
    results = read_results(tmp_path / "p.json")
    assert list(results) == ["start", "gpu"], "in the order of the table"
    assert results["start"].title == "What is measured. And how."
    assert len(results["start"].figures[0].values) == 6

    def never(plan):
        raise AssertionError("the page is made of what is stored")

    for name in command.BENCHMARKS:
        monkeypatch.setitem(command.BENCHMARKS, name, never)
    assert call(monkeypatch, "--page", tmp_path / "p.md") == 0
    assert "## start\n\nWhat is measured. And how." in (tmp_path / "p.md").read_text()


def test_a_benchmark_that_fails_takes_no_other_with_it(tmp_path, monkeypatch, capsys):
    def broken(plan):
        raise RuntimeError("no such luck")
        yield

    monkeypatch.setitem(command.BENCHMARKS, "start", broken)
    monkeypatch.setitem(command.BENCHMARKS, "gpu", fake)
    assert call(monkeypatch, "--only", "start", "gpu", "--json", tmp_path / "p.json") == 1
    assert "start failed" in (err := capsys.readouterr().err)
    assert "no such luck" in err
    assert list(read_results(tmp_path / "p.json")) == ["gpu"]


def test_a_page_without_figures_is_an_error_that_names_the_way_out(tmp_path, monkeypatch, capsys):
    assert call(monkeypatch, "--page", tmp_path / "p.md") == 2
    assert "run python -m simulations.performance --json" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[]", '{"start": 1}', "{"])
def test_a_broken_file_is_not_overwritten(tmp_path, monkeypatch, text, capsys):
    monkeypatch.setitem(command.BENCHMARKS, "start", fake)
    (tmp_path / "p.json").write_text(text)
    assert call(monkeypatch, "--only", "start", "--json", tmp_path / "p.json") == 2
    assert (tmp_path / "p.json").read_text() == text
    with pytest.raises((TypeError, ValueError)):
        json.loads(text)["start"]["figures"]
