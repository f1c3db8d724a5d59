"""Generated texts as files."""

import csv
import io
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.errors import ConfigError, DataError
from simulations.runs import provenance
from simulations.runs.text_files import Text, as_csv, as_jsonl, as_txt, read_lines, texts_of_txt, write_texts

ODD = 'a "b",\r\n; \u00e9\U0001f600\n---\n\\---'


def text(said, label=1, index=0, **more):
    return Text(said, "a", label, "tragedy" if label >= 0 else "", 7, index, **more)


@example(["a\n---\nb", "---"])
@example(["\\---", "\\\\---\n"])
@given(st.lists(st.text(st.sampled_from("-\\\n a"), max_size=12), min_size=1, max_size=4))
def test_a_txt_is_read_back_to_the_character(said):
    assert texts_of_txt(as_txt([text(it) for it in said])) == said


def test_lines_of_json():
    lines = as_jsonl([text(ODD, parts={"words": ["a"]}), text("b", label=-1, index=3)]).splitlines()
    first, second = (json.loads(line) for line in lines)
    assert first == {
        "index": 0, "seed": 7, "label": 1, "class": "tragedy", "prompt": "a", "text": ODD, "words": ["a"]
    }  # fmt: skip
    assert second == {"index": 3, "seed": 7, "prompt": "a", "text": "b"}
    assert "\u00e9" in lines[0]


def test_a_table_is_quoted():
    rows = list(csv.DictReader(io.StringIO(as_csv([text(ODD), text("b", label=-1)]), newline="")))
    assert [row["text"] for row in rows] == [ODD, "b"]
    assert [(row["label"], row["class"]) for row in rows] == [("1", "tragedy"), ("", "")]


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.CSV", "folder"])
def test_what_is_written_says_where_it_comes_from(tmp_path, name):
    out = tmp_path / "new" / name
    write_texts([text("b\r\n", index=12)], out, {"run": "r", "seed": 7})
    assert provenance.read(out) == {"run": "r", "seed": 7}
    if name == "folder":
        assert sorted(path.name for path in out.iterdir()) == ["00012-label-1.txt", "provenance.json"]
        write_texts([text("c", label=-1, index=0)], out, {"run": "s"})
        assert sorted(path.name for path in out.iterdir()) == ["00000.txt", "provenance.json"]
    elif name == "a.txt":
        assert out.read_bytes() == b"b\r\n\n"


def test_a_file_without_a_word_on_it_says_nothing(tmp_path):
    (tmp_path / "a.txt").write_text("b")
    with pytest.raises(ConfigError, match="has no provenance.json beside it"):
        provenance.read(tmp_path / "a.txt")
    (tmp_path / "a.txt.provenance.json").write_text("[")
    with pytest.raises(DataError, match="does not say"):
        provenance.read(tmp_path / "a.txt")
    with pytest.raises(ConfigError, match="there is no text to write"):
        write_texts([], tmp_path / "b.txt", {})


def test_lists_of_prompts_and_words(tmp_path):
    path = tmp_path / "list"
    path.write_bytes(b"\xef\xbb\xbfone \r\n\n  \ntwo")
    assert read_lines(path) == ["one ", "two"]
    for content, words in ((b"\xff", "is not UTF-8: byte 0"), (b"\n", "has no line")):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=words):
            read_lines(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_lines(tmp_path / "none")
