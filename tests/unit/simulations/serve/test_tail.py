"""A journal that grows, is torn, is cut and comes back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.files import write_atomically
from simulations.runs.journal_tail import Tail
from tests.unit.simulations.serve.conftest import event, line


def text(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def rounds(news):
    return [row["round"] for _, row in news.lines]


def test_a_line_counts_when_its_newline_is_there(tmp_path):
    path = tmp_path / "journal.jsonl"
    tail = Tail(path)
    assert tail.look().lines == []  # no file yet
    whole = text(line(1), line(2))
    path.write_text(whole[:-10])
    assert rounds(tail.look()) == [1]
    assert rounds(tail.look()) == []
    path.write_text(whole)
    news = tail.look()
    assert (rounds(news), news.anew) == ([2], False)


def test_a_torn_line_never_keeps_the_next_ones_back(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text(text(line(1)) + text(line(2))[:30])
    tail = Tail(path)
    assert rounds(tail.look()) == [1]
    with path.open("a") as file:
        file.write(text(line(2), line(3)))  # written right behind the torn one
    assert rounds(tail.look()) == [3]
    assert tail.unreadable == 1


def test_a_journal_that_was_cut_begins_anew(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text(text(line(1), line(2), line(3)))
    tail = Tail(path)
    tail.look()
    write_atomically(path, text(line(1), event("rollback", 1, "why")).encode())
    news = tail.look()
    assert news.anew
    assert [row.get("event") for _, row in news.lines] == [None, "rollback"]
    path.unlink()
    assert tail.look().anew
    path.write_text(text(line(1)))
    assert rounds(tail.look()) == [1]


def test_a_reader_goes_on_from_the_end_of_a_line_and_from_no_other_place(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text(text(line(1), line(2), line(3)))
    ends = [end for end, _ in Tail(path).look().lines]
    news = Tail(path, ends[1]).look()
    assert (rounds(news), news.anew) == ([3], False)
    for wrong in (ends[1] - 1, ends[2] + 5):
        news = Tail(path, wrong).look()
        assert (rounds(news), news.anew) == ([1, 2, 3], True)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=20))
def test_however_a_journal_is_written_each_line_comes_once(tmp_path_factory, sizes):
    path = tmp_path_factory.mktemp("tail") / "journal.jsonl"
    content = text(*(line(k) for k in range(1, 9))).encode()
    tail, found, at = Tail(path), [], 0
    for size in [*sizes, len(content)]:
        at += size
        path.write_bytes(content[:at]) if not path.exists() else append(path, content[at - size : at])
        found += rounds(tail.look())
    assert found == list(range(1, 9))


def append(path, content):
    with path.open("ab") as file:
        file.write(content)


@pytest.mark.parametrize(
    ("reason", "reported"),
    [
        ("output.dir='/srv/lab one/runs/x' is full", "output.dir='…/lab one/runs/x' is full"),
        (
            "No such file: /home/ann/data/train.npz, give data.root=/data",
            "No such file: …/train.npz, give data.root=/data",
        ),
        ("see https://example.org/a/b and images/s at 3/4", "see https://example.org/a/b and images/s at 3/4"),
        ("~/fed/site/state.bin and ./here/it is", "…/state.bin and ./here/it is"),
    ],
)
def test_reasons_name_files_without_the_folders_of_the_host(tmp_path, reason, reported):
    path = tmp_path / "journal.jsonl"
    path.write_text(text(event("stopped", 1, reason), line(2, refused=[(0, reason)])))
    (_, stopped), (_, second) = Tail(path).look().lines
    assert stopped["reason"] == second["refused"][0]["reason"] == reported
