"""Texts on a page for people: written under headings, and read back."""

import pytest
import torch

from common.examples import ImageSpec, TextSet, TextSpec, nouns_of
from common.examples.pages import NOTHING, page, sections_of
from common.examples.text import END, PREVIEW_LENGTH, pack, shortened


def test_a_page_is_readable():
    written = page([("tragedies", ["To be,\n\n  or not  ", "Words"]), ("comedies", [" \n"])])
    assert written == ("# tragedies\n\n    To be,\n\n      or not\n---\n    Words\n\n# comedies\n\n    (no text)")
    assert not any(line != line.rstrip() for line in written.split("\n"))


@pytest.mark.parametrize("texts", [["---"], ["# no heading", "a\n---\nb"], ["a\n\n\nb", "c"], ["{}"]])
@pytest.mark.parametrize("headings", [[""], ["one", "two"]])
def test_a_page_is_read_back_whatever_the_texts_are(texts, headings):
    sections = [(heading, texts) for heading in headings]
    assert sections_of('{"facts": 1}\n\n' + page(sections) + "\n") == sections


def test_nothing_and_control_characters_do_not_break_a_page():
    assert sections_of(page([("two\nlines", ["", "a\x1b[31mb\rc"])])) == [("two lines", [NOTHING, "a [31mb c"])]
    assert sections_of("") == sections_of("1 2 3\n4 5 6\n") == []


def spec_of(texts, labels, length=8, overlap=4):
    characters = "".join(sorted({*"".join(text for of_class in texts for text in of_class)}))
    rows = [torch.from_numpy(pack(of_class, length, overlap)) for of_class in texts]
    label = torch.tensor(labels).repeat_interleave(torch.tensor([len(part) for part in rows]))
    return TextSpec(length, overlap, characters, max(labels) + 1), TextSet(torch.cat(rows), label, overlap, characters)


def test_samples_stand_below_the_name_of_their_class():
    spec = TextSpec(4, 1, "abc", 2)
    rows = torch.tensor([[97, END, -2, -2], [98, 98, 98, 98], [99, END, 97, 97], [END, -2, -2, -2]], dtype=torch.int32)
    assert sections_of(spec.preview(rows, 2, ["x", "y"])) == [("x", ["a", "bbbb"]), ("y", ["c", NOTHING])]
    assert sections_of(spec.preview(rows, 2)) == [("", ["a", "bbbb", "c", NOTHING])]


def test_real_texts_are_whole_and_of_their_class():
    many = [f"text {letter}" for letter in "abcdefgh"]
    spec, real = spec_of([many, ["w" * 500]], [0, 1])
    shown = dict(sections_of(spec.preview_real(real, [0, 1], ["many", "long"])))
    assert shown["many"] == ["text a", "text c", "text e", "text g"]
    assert shown["long"] == ["w" * (PREVIEW_LENGTH - 1) + "…"]
    assert sections_of(spec.preview_real(real, [0, 1])) == [("", [*many, shown["long"][0]])]
    assert spec.preview_real(TextSet(real.stored[:0], real.labels[:0], 4, ""), [0], ["none"]) is None
    assert ImageSpec(1, 28, 10).preview_real(real, [0]) is None


def test_a_text_is_cut_where_it_is_too_long_only():
    assert (shortened("four", 4), shortened("four five", 6), shortened("a b", 2)) == ("four", "four…", "a…")


def test_kinds_say_what_their_examples_are_called():
    assert (ImageSpec.counted(1), ImageSpec.counted(1200)) == ("1 image", "1,200 images")
    assert (TextSpec.counted(1), TextSpec.counted(2)) == ("1 row of text", "2 rows of text")
    assert nouns_of({}) == ("image", "images")
    assert nouns_of({"kind": "text"}) == TextSpec.nouns
    assert nouns_of({"kind": "smells"}) == ("example", "examples")
