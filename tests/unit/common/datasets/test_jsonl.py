"""JSON Lines: texts, sources and classes from fields; errors name file and line."""

import json
import re

import numpy as np
import pytest

from client import data
from common.components import parse
from common.config import RunConfig
from common.datasets import DATASETS, UNLABELLED
from common.datasets.jsonl import Jsonl
from common.errors import ConfigError, DataError
from common.examples.text import unpack


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def load(place, options=""):
    return parse("data.name", DATASETS, f"jsonl {options}").load(place)


def texts(dataset, part="train"):
    """Returns the texts of each source, from the rows."""
    examples, sources = getattr(dataset, part), getattr(dataset, f"{part}_sources")
    return {
        name: unpack(examples.stored[sources == place], dataset.spec)
        for place, name in enumerate(dataset.source_names)
        if (sources == place).any()
    }


@pytest.fixture
def notes(tmp_path):
    """Returns a file of ten texts of two authors, who each write in two classes in turn."""
    lines = ({"body": f"text {k}", "who": ("ann", 7)[k % 2], "kind": k // 2 % 2, "id": k} for k in range(10))
    return write(tmp_path / "notes.jsonl", *lines)


def test_each_line_is_a_text_and_each_file_a_source(tmp_path):
    write(tmp_path / "a.jsonl", *({"text": f"a{k}"} for k in range(5)))
    write(tmp_path / "deep" / "b.ndjson", *({"text": f"b{k}", "more": [1, {}]} for k in range(5)))
    write(tmp_path / "c.csv", "text")
    dataset = load(tmp_path)
    assert texts(dataset) == {"a.jsonl": ["a0", "a1", "a2", "a3"], "deep/b.ndjson": ["b0", "b1", "b2", "b3"]}
    assert texts(dataset, "test") == {"a.jsonl": ["a4"], "deep/b.ndjson": ["b4"]}
    assert (dataset.class_names, dataset.labelled) == (UNLABELLED, False)
    assert dataset.remarks == ("1 file of a kind that is not read as text was left out (.csv)",)
    assert load(tmp_path / "a.jsonl").source_names == ("a.jsonl",)


def test_fields_say_text_source_and_class(notes):
    dataset = load(notes, "field=body source=who label=kind")
    assert dataset.class_names == ("0", "1")
    assert {name: sorted(those) for name, those in texts(dataset).items()} == {
        "ann": ["text 0", "text 2", "text 4", "text 6"],
        "7": ["text 1", "text 3", "text 5", "text 7"],
    }
    assert texts(dataset, "test") == {"ann": ["text 8"], "7": ["text 9"]}
    for label in (0, 1):  # rows have one class each
        rows = dataset.train.stored[dataset.train.labels == label]
        assert {int(text[-1]) // 2 % 2 for text in unpack(rows, dataset.spec)} == {label}


def test_listed_classes_fix_the_labels(notes):
    dataset = load(notes, "field=body label=kind classes=1,2,0")
    assert dataset.class_names == ("1", "2", "0")
    assert sorted(set(dataset.train.labels.tolist())) == [0, 2]
    with pytest.raises(DataError, match=r"notes\.jsonl has classes that are not among 0: 1; add them to classes="):
        load(notes, "field=body label=kind classes=0")
    with pytest.raises(DataError, match="classes='0,1' needs label="):
        load(notes, "field=body classes=0,1")


def test_line_ends_are_one_and_separators_within_a_string_no_new_line(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = [
        json.dumps({"text": text}, ensure_ascii=False) for text in ("one\r\ntwo\n", "a\u2028b\x85c", "x", "y", "z")
    ]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    dataset = load(path)
    assert texts(dataset) == {"a.jsonl": ["one\ntwo", "a\u2028b\x85c", "x", "y"]}
    assert dataset.remarks == ("1 file began with a byte order mark, which was left out (a.jsonl)",)


def test_blank_lines_and_empty_texts_are_left_out(tmp_path):
    path = write(tmp_path / "a.jsonl", "", *({"text": f"{k}"} for k in range(5)), "  ", {"text": " \n"}, "")
    write(tmp_path / "b.jsonl", "", "")
    dataset = load(tmp_path)
    assert texts(dataset) == {"a.jsonl": ["0", "1", "2", "3"]}
    assert dataset.remarks == (
        "1 line whose text is empty was left out (a.jsonl line 8)",
        "1 file without text was left out (b.jsonl)",
    )
    write(path, "")
    with pytest.raises(DataError, match=r"jsonl .*: there is no text$"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"text": "cut', r"is not JSON \(Unterminated string.*\); each line has to be one object: '{\"text\": \"cut'"),
        ("[" * 100_000, r"is not JSON \(maximum recursion depth"),
        ("9" * 5000, "is not JSON"),
        (["a", "b"], r"is \['a', 'b'\], not an object"),
        ("null", "is None, not an object"),
        ({"txt": "a", "id": 3}, "has no 'text'; it has txt, id"),
        ({}, "has no 'text'; it has no fields"),
        ({"text": 3}, ": 'text' is 3, not a string"),
        ({"text": None}, ": 'text' is None, not a string"),
        ({"text": ["a" * 1000]}, r": 'text' is \['a{70,80}\.\.\., not a string"),
        ('{"text": "x\\ny\\u0000"}', r": the text's line 2 holds the character U\+0000"),
        ('{"text": "\\ud83d"}', r": the text's line 1 holds the character U\+D83D"),
    ],
)
def test_a_line_that_is_no_text_is_refused_by_file_and_number(tmp_path, line, words):
    write(tmp_path / "a.jsonl", {"text": "fine"}, "", line, {"text": "fine"})
    with pytest.raises(DataError, match=rf"{re.escape(str(tmp_path))}/a\.jsonl: line 3 ?{words}") as caught:
        load(tmp_path)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("value", [None, 1.5, "", " ", ["a"], "x" * 201])
@pytest.mark.parametrize("option", ["source", "label"])
def test_a_source_or_a_class_has_a_name(tmp_path, option, value):
    path = write(tmp_path / "a.jsonl", {"text": "a", "by": "me"}, {"text": "b", "by": value})
    with pytest.raises(DataError, match=r"a\.jsonl: line 2: 'by' is .*expected a name of at most 200 characters"):
        load(path, f"{option}=by")
    write(path, {"text": "a", "by": "me"}, {"text": "b"})
    with pytest.raises(DataError, match=r"a\.jsonl: line 2 has no 'by'; it has text"):
        load(path, f"{option}=by")


def test_ids_are_no_classes(tmp_path):
    path = write(tmp_path / "a.jsonl", *({"text": "a", "id": k, "few": k % 51} for k in range(102)))
    with pytest.raises(DataError, match="'id' has 102 different values in 102 lines: are these ids"):
        load(path, "label=id")
    assert len(load(path, "label=few").class_names) == 51


def test_another_encoding_is_refused_by_line(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "fine"}\n{"text": "na\xefve"}\n')
    with pytest.raises(DataError, match=r"a\.jsonl: byte 13 of line 2 \(0xef\) is not UTF-8"):
        load(tmp_path)


def test_status_reads_no_lines(tmp_path):
    write(tmp_path / "a.jsonl", "no JSON")
    assert Jsonl().status(tmp_path) == f"there, not checked: {tmp_path} (1 files, 0.0 MB)"
    assert Jsonl().status(tmp_path / "b.jsonl").startswith("missing: ")
    with pytest.raises(ConfigError, match=r"needs data\.root"):
        Jsonl().load(None)


def test_clients_are_sources_and_a_site_has_its_own(notes):
    settings = {
        "data.name": "jsonl field=body source=who context=8", "data.root": str(notes), "partition": "by-source",
        "federation.num-clients": 2, "model": "transformer", "objective": "next-token",
    }  # fmt: skip
    config = RunConfig.from_flat(settings)
    whole, parts = data.load(config.data), data.split(config)
    assert [np.unique(whole.train_sources[part]).tolist() for part in parts] == [[0], [1]]
    own = data._own(f"jsonl field=body context=8:{notes}", 0, "")
    assert unpack(own.examples.stored, own.spec) == [f"text {k}" for k in range(8)]
    assert unpack(own.test.stored, own.spec) == ["text 8", "text 9"]
