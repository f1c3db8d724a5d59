"""Rows of text: how they are cut, and what they are as tokens and as characters."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.errors import DataError
from common.examples import TextSet, TextSpec, spec_from
from common.examples.text import (
    END,
    MOST_CHARACTERS,
    PAD,
    UNKNOWN,
    from_ranges,
    pack,
    points_of,
    ranges_of,
    text_of,
    vocabulary_of,
)

SPEC = TextSpec(6, 3, "abßé", 2)
BYTES = TextSpec(6, 3, "", 2)
A, B, C, D = map(ord, "abcd")


def stored(*points):
    return torch.tensor(points, dtype=torch.int32)


def test_texts_are_packed_as_by_hand():
    # overlap 3: two of nothing, then END a b END c d END; rows of 5 begin every 2.
    assert pack(["ab", "cd"], 5, 3).tolist() == [
        [PAD, PAD, END, A, B],
        [END, A, B, END, C],
        [B, END, C, D, END],
    ]
    assert pack(["abc"], 4, 1).tolist() == [[END, A, B, C], [C, END, PAD, PAD]]
    assert pack([""], 4, 2).tolist() == [[PAD, END, END, PAD]]
    assert pack([], 4, 2).tolist() == [[PAD, END, PAD, PAD]]
    assert pack(["é"], 4, 1, is_bytes=True).tolist() == [[END, 0xC3, 0xA9, END]]


@given(
    texts=st.lists(st.text("abc\n", max_size=12), max_size=5),
    length=st.integers(2, 9),
    share=st.floats(0, 1),
)
def test_every_token_stands_once_where_it_is_scored_after_what_came_before(texts, length, share):
    overlap = 1 + round(share * (length - 2))
    rows = pack(texts, length, overlap)
    stream = [END]
    for text in texts:
        stream += [*points_of(text).tolist(), END]
    scored = rows[:, overlap:].ravel()
    assert scored[scored != PAD].tolist() == stream[1:]
    assert rows.dtype == np.int32
    assert rows.shape[1] == length
    for one, after in itertools.pairwise(rows):
        assert (after[:overlap] == one[length - overlap :]).all()
    assert (rows[0, :overlap] == [PAD] * (overlap - 1) + [END]).all()
    assert (rows[:, overlap:] != PAD).any(axis=1).all() or len(rows) == 1  # no row of nothing new


def test_tokens_are_by_hand_and_back():
    row = stored(PAD, END, ord("a"), ord("ß"), UNKNOWN, ord("é"))
    tokens = SPEC.to_input(row[None])
    assert tokens.tolist() == [[0, 1, 3, 5, 2, 6]]
    assert tokens.dtype == torch.int64
    assert torch.equal(SPEC.to_stored(tokens), row[None])
    assert SPEC.num_tokens == 7
    assert BYTES.num_tokens == 259


def test_characters_that_a_vocabulary_lacks_are_unknown():
    # below, between and above those that it has
    assert SPEC.encode("aA\N{GRINNING FACE}d").tolist() == [3, 2, 2, 2]
    assert SPEC.decode(SPEC.to_stored(SPEC.encode("aA"))) == "a\N{REPLACEMENT CHARACTER}"


@given(st.text())
def test_bytes_and_code_points_round_trip(text):
    assert BYTES.decode(BYTES.to_stored(BYTES.encode(text))) == text
    assert text_of(torch.from_numpy(points_of(text))) == text
    if text:
        spec = TextSpec(6, 3, vocabulary_of([text]), 1)
        assert (spec.encode(text) >= 3).all()
        assert spec.decode(spec.to_stored(spec.encode(text))) == text


def test_a_text_ends_at_its_first_end_and_without_what_is_nothing():
    assert SPEC.decode(stored(PAD, A, PAD, B, END, A)) == "ab"
    assert SPEC.decode(stored(END, A)) == ""
    assert BYTES.decode(stored(0xC3, END)) == "\N{REPLACEMENT CHARACTER}"
    assert SPEC.preview(torch.stack([stored(A, END, B), stored(B, B, PAD)]), 1) == "    a\n---\n    bb"


def test_the_vocabulary_is_every_character_once_ascending():
    assert vocabulary_of(["banana", "cab\n"]) == "\nabcn"
    assert vocabulary_of([]) == ""
    many = "".join(map(chr, range(0x4E00, 0x4E00 + MOST_CHARACTERS)))
    assert vocabulary_of([many]) == many
    with pytest.raises(DataError, match=r"20,001 different characters, more than 20,000: set tokens=bytes"):
        vocabulary_of([many, "a"])


def test_sites_agree_on_the_characters_of_all():
    assert SPEC.widened(TextSpec(6, 3, "ax", 2)) == TextSpec(6, 3, "abxßé", 2)
    assert SPEC.widened(SPEC) == SPEC
    for other in (TextSpec(7, 3, "ax", 2), TextSpec(6, 2, "ax", 2), TextSpec(6, 3, "ax", 1), BYTES):
        assert SPEC.widened(other) is None


@pytest.mark.parametrize("spec", [SPEC, BYTES])
def test_a_specification_is_read_from_its_record(spec):
    assert spec_from(spec.record()) == spec
    assert spec.record()["kind"] == "text"
    with pytest.raises(KeyError):
        spec_from({key: value for key, value in spec.record().items() if key != "overlap"})


def test_a_specification_says_what_it_is():
    assert str(SPEC) == "text in rows of 6 of 4 characters, of 2 class(es)"
    assert str(BYTES) == "text in rows of 6 of bytes, of 2 class(es)"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ((6, 6, "ab", 1), "rows of 6 tokens cannot overlap by 6"),
        ((6, 0, "ab", 1), "overlap by 0"),
        ((6, 3, "ba", 1), "not ascending and distinct"),
        ((6, 3, "aa", 1), "not ascending and distinct"),
    ],
)
def test_specifications_that_mean_nothing_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        TextSpec(*wrong)


def test_a_set_keeps_its_overlap_and_vocabulary_whatever_is_taken_of_it():
    rows = torch.from_numpy(pack(["ab", "cd"], 5, 3))
    whole = TextSet(rows, torch.tensor([0, 1, 0]), 3, "abcd")
    part = whole.subset(np.array([2, 0]))
    assert part.spec(2) == whole.view(np.array([1])).spec(2) == whole.spec(2) == TextSpec(5, 3, "abcd", 2)
    assert torch.equal(part.stored, rows[[2, 0]])
    assert part.labels.tolist() == [0, 0]
    again = TextSet(part.stored, part.labels, **part.options())
    assert again.spec(2) == whole.spec(2)


@pytest.mark.parametrize(
    ("rows", "overlap"), [(torch.zeros(2, 5), 1), (torch.zeros(5).int(), 1), (torch.zeros(2, 5).int(), 5)]
)
def test_rows_of_another_shape_or_dtype_are_refused(rows, overlap):
    with pytest.raises(DataError, match=r"not \(N, L\) torch.int32 with L more than the overlap of"):
        TextSet(rows, torch.zeros(len(rows), dtype=torch.int64), overlap)


def test_characters_are_written_as_ranges_of_code_points():
    assert ranges_of("\nabce") == "a 61-63 65"
    assert from_ranges("a 61-63 65") == "\nabce"
    assert (ranges_of(""), from_ranges("")) == ("", "")
    for wrong in ("61-63-65", "g", "0-ffffff"):
        with pytest.raises(ValueError):  # noqa: PT011  of int() or of from_ranges
            from_ranges(wrong)
