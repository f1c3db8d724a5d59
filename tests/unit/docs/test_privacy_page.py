"""The page on privacy names a test beside its claims, and each of them is there."""

import re
from pathlib import Path

import pytest

from common.privacy.accounting import Mechanism, epsilon

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "privacy.md"
NAMED = re.compile(r"`((?:unit|e2e|equivalence)/[\w/]+\.py)`")


def test_every_test_that_the_page_names_is_there():
    named = set(NAMED.findall(PAGE.read_text(encoding="utf-8")))
    assert len(named) > 5
    assert [name for name in sorted(named) if not (ROOT / "tests" / name).is_file()] == []


def test_every_row_and_point_on_what_leaves_and_what_is_counted_names_one():
    page = PAGE.read_text(encoding="utf-8")
    for title in ("What leaves a site under a promise", "What is counted", "What was tried against it"):
        section = page.partition(f"## {title}\n")[2].partition("\n## ")[0]
        claims = re.findall(r"^(?:\| (?!what \||attempt \|)|- )(?:.|\n(?!\n|- |\|))+", section, re.MULTILINE)
        assert len(claims) > 4, title
        assert [claim for claim in claims if not NAMED.search(claim)] == []


def test_the_noise_that_it_tells_spends_the_epsilon_that_it_tells():
    rows = re.findall(r"^\| ([\d,]+) \| (\d+) \| ([\d.]+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == 5
    for examples, budget, noise in rows:  # 30 rounds of 20 steps, batches of 100
        mechanism = Mechanism(float(noise), 100 / int(examples.replace(",", "")))
        assert epsilon({mechanism: 600}, 1e-5) == pytest.approx(float(budget), rel=0.01)  # two digits of the noise
