"""docs/comparison.md: every cell names a source that is listed, or says that none was found."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from pages import ROOT

PAGE = (ROOT / "docs" / "comparison.md").read_text()
CITED = re.compile(r"\[([0-9, ]+)\]")


def numbers(text):
    return {int(number) for group in CITED.findall(text) for number in group.split(",")}


def rows():
    table = re.search(r"^\| \|.*?\n\n", PAGE, re.DOTALL | re.MULTILINE)[0]
    head, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()]
    return head, lines


def test_every_cell_has_a_source_or_says_that_there_is_none():
    head, lines = rows()
    assert len(head) == 8
    assert len(lines) > 8
    for name, *cells in lines:
        assert len(cells) == len(head) - 1, name
        for program, cell in zip(head[1:], cells, strict=True):
            assert numbers(cell) or "not found" in cell, f"{name}, {program}: {cell}"


def test_every_source_is_listed_with_its_date_and_cited():
    listed = [int(number) for number in re.findall(r"^([0-9]+)\. ", PAGE.partition("## Sources")[2], re.MULTILINE)]
    assert listed == list(range(1, len(listed) + 1))
    assert numbers(PAGE.partition("## Sources")[0]) == set(listed)
    assert re.search(r"Read on 20\d\d-\d\d-\d\d", PAGE)
