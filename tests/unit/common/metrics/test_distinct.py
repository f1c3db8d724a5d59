import pytest

from common.metrics.distinct import distinct


def test_by_hand():
    texts = [list("abab"), ["a", "b", "c"], ["d"]]  # ab, ba, ab; ab, bc
    assert distinct(texts) == pytest.approx(3 / 5)
    assert distinct(texts, 1) == pytest.approx(4 / 8)


def test_texts_without_pairs_have_none():
    assert distinct([]) == distinct([[], ["a"]]) == 0
    assert distinct([["a", "b", "c"]]) == 1
