"""The texts that rows were cut from come out of the rows again."""

import pytest
import torch

from common.examples import TextSpec
from common.examples.text import pack, unpack

TEXTS = ["to be", "or", "n", "ot to be that is the question"]
CHARACTERS = "".join(sorted({*"".join(TEXTS)}))


def rows_of(texts, length, overlap, **options):
    return torch.from_numpy(pack(texts, length, overlap, **options))


@pytest.mark.parametrize(("length", "overlap"), [(2, 1), (5, 1), (5, 4), (8, 3), (64, 32), (64, 63)])
def test_it_is_the_inverse_of_pack(length, overlap):
    spec = TextSpec(length, overlap, CHARACTERS, 1)
    assert unpack(rows_of(TEXTS, length, overlap), spec) == TEXTS
    assert unpack(rows_of(["été"], length, overlap, is_bytes=True), TextSpec(length, overlap, "", 1)) == ["été"]


def test_sources_stay_apart_and_rows_without_those_before_them_begin_a_text():
    spec = TextSpec(6, 3, CHARACTERS, 1)
    one, two = rows_of(["to be"], 6, 3), rows_of(["question"], 6, 3)
    assert unpack(torch.cat([one, two]), spec) == ["to be", "question"]
    assert unpack(two[[0, 2]], spec) == ["que", "stion"]


def test_there_may_be_no_rows():
    assert unpack(torch.zeros(0, 6, dtype=torch.int32), TextSpec(6, 3, CHARACTERS, 1)) == []
