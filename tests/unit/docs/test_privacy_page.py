"""The page on privacy names a test beside its claims, and each of them is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_test_that_the_page_names_is_there():
    page = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:unit|e2e|equivalence)/[\w/]+\.py)`", page))
    assert len(named) > 5
    assert [name for name in sorted(named) if not (ROOT / "tests" / name).is_file()] == []
