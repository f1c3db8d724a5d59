"""The page of performance is made of stored figures and remarks alone, and holds figures to their bars."""

import json
import re

import pytest

from common.errors import ConfigError
from simulations.performance.bars import BARS, Bar
from simulations.performance.figures import Figure, Machine, Result, Skipped
from simulations.performance.page import read_results, write_page, write_results

MACHINE = Machine(
    processor="Abacus 9", cores=2, python="3.11", packages={"torch": "2.14"}, code="abc", date="2026-01-02"
)


def result(*figures, quick=False, skipped=()):
    return Result(title="What it is.", machine=MACHINE, seconds=12.3, quick=quick, figures=figures, skipped=skipped)


@pytest.fixture
def place(tmp_path):
    """Returns a folder with the figures of two simulations.performance."""
    start = result(
        Figure(key="seconds", what="command to first step", values=(7.0, 5.0, 6.5), unit="s"),
        Figure(key="ours", what="of that, ours", values=(0.25,), unit="s"),
    )
    gpu = result(skipped=(Skipped(what="all", why="there is no CUDA device"),))
    write_results(tmp_path / "p.json", {"start": start, "gpu": gpu})
    return tmp_path


def page_of(place):
    write_page(place / "p.md", place / "p.json", place / "p.toml")
    return (place / "p.md").read_text()


def test_what_is_stored_is_read_back_with_a_line_a_figure(place):
    read = read_results(place / "p.json")
    write_results(place / "again.json", read)
    assert read_results(place / "again.json") == read
    assert read["start"].figure("seconds").values == (7.0, 5.0, 6.5)
    assert sum('"key"' in line for line in (place / "p.json").read_text().splitlines()) == 2


def test_the_page_has_medians_ranges_machine_and_what_was_skipped(place):
    page = page_of(place)
    assert "| command to first step | 6.5 s (5 to 7) |" in page
    assert "Abacus 9, 2 cores; Python 3.11, torch 2.14; code abc; 2026-01-02" in page
    assert "- all: skipped, there is no CUDA device" in page


def test_the_page_says_which_bars_are_met(place):
    table = page_of(place).partition("## Bars")[2].partition("## start")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")][1:]  # without the heads of columns
    assert len(lines) == len(BARS)
    (missed,) = [line for line in lines if "command to first step" in line]
    (met,) = [line for line in lines if "of that, ours" in line]
    (unknown,) = [line for line in lines if "GPU, 50 clients: batched" in line]
    assert missed.endswith("| at most 6 s | 6.5 s (5 to 7) | **missed** |")
    assert met.endswith("| at most 0.5 s | 0.25 s | met |")
    assert unknown.endswith("| at least 40x | not measured |  |")


def test_the_page_links_to_sections_that_it_has(place):
    page = page_of(place)
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) == set(re.findall(r"^## (start|gpu)$", page, re.MULTILINE))


@pytest.mark.parametrize(("side", "met"), [("at least", True), ("at most", True), ("more than", False)])
def test_a_figure_at_its_bar_meets_it_unless_it_is_to_be_more(side, met):
    bar = Bar(benchmark="b", key="k", what="w", side=side, limit=2)
    assert bar.met_by(Figure(key="k", what="w", values=(1.0, 2.0, 9.0))) is met


def test_a_bar_in_another_unit_than_its_figure_is_an_error():
    bar = Bar(benchmark="b", key="k", what="w", side="at most", limit=2, unit="s")
    with pytest.raises(ValueError, match="in ms, its bar in s"):
        bar.met_by(Figure(key="k", what="w", values=(1.0,), unit="ms"))


def test_remarks_stand_with_their_figures(place):
    (place / "p.toml").write_text('intro = "Hello."\n[start]\ntext = "Below."\n[start.remarks]\nours = "Small."\n')
    page = page_of(place)
    assert page.index("Hello.") < page.index("## Bars") < page.index("- *of that, ours*: Small.") < page.index("Below.")


@pytest.mark.parametrize("remarks", ["[nothing]\ntext = ''", "[start.remarks]\nnothing = ''", "[start"])
def test_a_remark_about_nothing_is_refused(place, remarks):
    (place / "p.toml").write_text(remarks)
    with pytest.raises(ConfigError, match="nothing|not TOML"):
        page_of(place)


def test_figures_that_measure_nothing_make_no_page(place):
    with pytest.raises(ConfigError, match="holds no figures"):
        write_page(place / "p.md", place / "none.json", place / "p.toml")
    write_results(place / "p.json", {"start": result(quick=True)})
    with pytest.raises(ConfigError, match="start ran with --quick"):
        page_of(place)


def test_a_file_of_another_kind_is_refused(place):
    (place / "p.json").write_text(json.dumps({"start": {"machine": "old"}}))
    with pytest.raises(ConfigError, match="does not hold results"):
        page_of(place)
