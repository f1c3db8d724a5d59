"""Folders of text files: what is a source, a text and a class, and that what is no text is refused by name."""

import re
from pathlib import Path

import numpy as np
import pytest

from client import data
from common.components import parse
from common.datasets import DATASETS, UNLABELLED, text_files
from common.datasets.text_folder import TextFolder
from common.errors import ConfigError, DataError

FIVE = "one\n\ntwo\n\nthree\n\nfour\n\nfive\n"


def write(place, content=FIVE):
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content if isinstance(content, bytes) else content.encode())


def load(place, options=""):
    return parse("data.name", DATASETS, f"text-folder {options}").load(place)


def texts(dataset, part="train"):
    """Returns the texts of each source, from the rows."""
    examples, sources = getattr(dataset, part), getattr(dataset, f"{part}_sources")
    spec, found = dataset.spec, {}
    for place, name in enumerate(dataset.source_names):
        rows = examples.stored[sources == place].numpy()
        points = [point for row in rows for point in row[spec.overlap :] if point != -2]
        if points:
            found[name] = "".join(chr(point) if point >= 0 else "|" for point in points).split("|")[:-1]
    return found


def test_files_are_sources_and_paragraphs_texts(tmp_path):
    write(tmp_path / "a.txt", "one\n  \n  indented\n  line\n\n\n\nthree\n\nfour\n\nfive\n\n")
    write(tmp_path / "b.MD")
    write(tmp_path / "c.pdf", b"\xff")
    dataset = load(tmp_path)
    assert texts(dataset) == {"a.txt": ["one", "  indented\n  line", "three", "four"], "b.MD": FIVE.split("\n\n")[:4]}
    assert texts(dataset, "test") == {"a.txt": ["five"], "b.MD": ["five"]}
    assert (dataset.class_names, dataset.labelled) == (UNLABELLED, False)
    assert dataset.remarks == ("1 file of a kind that is not read as text was left out (.pdf)",)


def test_folders_alone_are_sources_and_classes(tmp_path):
    write(tmp_path / "dan" / "1.txt")
    write(tmp_path / "ann" / "deep" / "2.txt", "deep")
    write(tmp_path / "ann" / "1.txt")
    (tmp_path / "empty").mkdir()
    dataset = load(tmp_path)
    assert dataset.class_names == ("ann", "dan")
    assert texts(dataset) == {"ann": ["one", "two", "three", "four", "five"], "dan": ["one", "two", "three", "four"]}
    assert texts(dataset, "test") == {"ann": ["deep"], "dan": ["five"]}
    np.testing.assert_array_equal(dataset.train.labels, dataset.train_sources)
    assert dataset.remarks == ("1 folder without files of text was left out (empty)",)


def test_files_beside_folders_are_sources_too_unless_classes_are_listed(tmp_path):
    write(tmp_path / "ann" / "1.txt")
    write(tmp_path / "dan" / "1.txt")
    write(tmp_path / "readme.md")
    mixed = load(tmp_path)
    assert (mixed.source_names, mixed.class_names) == (("readme.md", "ann", "dan"), UNLABELLED)
    assert "each is a source, and the folders are no classes" in mixed.remarks[0]
    listed = load(tmp_path, "classes=dan,eve,ann")
    assert (listed.source_names, listed.class_names) == (("dan", "ann"), ("dan", "eve", "ann"))
    assert sorted(set(listed.train.labels.tolist())) == [0, 2]
    assert listed.remarks == (
        "1 file beside the class folders was left out (readme.md)",
        "class eve has no training text, and is never generated",
    )
    with pytest.raises(DataError, match="has classes that are not among ann: dan; add them to classes="):
        load(tmp_path, "classes=ann")


def test_a_whole_file_is_a_text_if_set_so(tmp_path):
    for name in "abcde":
        write(tmp_path / f"{name}.txt", f"{name}\n\n{name}\n")
    dataset = load(tmp_path, "text=file")
    assert texts(dataset) == {tmp_path.name: ["a\n\na", "b\n\nb", "c\n\nc", "d\n\nd"]}
    assert texts(dataset, "test") == {tmp_path.name: ["e\n\ne"]}


def test_one_file_is_a_place_too(tmp_path):
    write(tmp_path / "book.txt")
    write(tmp_path / "other.txt", b"\xff\xfe\0")
    assert texts(load(tmp_path / "book.txt")) == {"book.txt": ["one", "two", "three", "four"]}
    assert "(1 files, 1 sources; classes: all)" in TextFolder().status(tmp_path / "book.txt")


def test_of_a_single_text_the_end_is_held_out(tmp_path):
    write(tmp_path / "one.txt", "0123456789" * 2 + "\n")
    dataset = load(tmp_path)
    assert texts(dataset) == {"one.txt": ["0123456789012345"]}
    assert texts(dataset, "test") == {"one.txt": ["6789"]}


def test_sources_with_too_few_texts_hold_nothing_out(tmp_path):
    write(tmp_path / "few.txt", "one\n\ntwo")
    write(tmp_path / "many.txt")
    dataset = load(tmp_path)
    assert set(texts(dataset, "test")) == {"many.txt"}
    assert dataset.remarks == ("nothing is held out of 1 source of fewer than 5 texts",)
    assert set(texts(load(tmp_path, "held-out=0.5"), "test")) == {"few.txt", "many.txt"}
    write(tmp_path / "many.txt", "one")
    with pytest.raises(DataError, match='no source has 5 texts.*data.name="text-folder held-out=0.5"'):
        load(tmp_path)


def test_line_ends_and_a_byte_order_mark_are_not_text(tmp_path):
    write(tmp_path / "a.txt", b"\xef\xbb\xbfone\r\ntwo\rthree\r\n\r\nx\r\n \r\ny\r\n\r\nz\r\n\r\nlast")
    dataset = load(tmp_path)
    assert texts(dataset) == {"a.txt": ["one\ntwo\nthree", "x", "y", "z"]}
    assert not set("\r\ufeff") & set(dataset.spec.vocabulary)
    assert dataset.remarks == ("1 file began with a byte order mark, which was left out (a.txt)",)


def test_characters_of_any_script_and_their_bytes(tmp_path):
    write(tmp_path / "a.txt", "\u00e9\n\n\u65e5\n\n\U0001f600\n\nd\n\ne")
    assert load(tmp_path).spec.vocabulary == "de\u00e9\u65e5\U0001f600"
    spec = load(tmp_path, "tokens=bytes").spec
    assert (spec.vocabulary, spec.num_tokens) == ("", 259)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"fine\nna\xefve\n", r"byte 3 of line 2 \(0xef\) is not UTF-8; save it as UTF-8"),
        (b"\xff", r"byte 1 of line 1 \(0xff\) is not UTF-8"),
        (b"cut \xe6\x97", r"byte 5 of line 1 \(0xe6\) is not UTF-8"),
        (b"\xff\xfea\0", "is UTF-16; save it as UTF-8"),
        (b"\xfe\xff\0a", "is UTF-16; save it as UTF-8"),
        (b"\xff\xfe\0\0a\0\0\0", "is UTF-32; save it as UTF-8"),
        (b"one\n\ntw\0o", r"line 3 holds the character U\+0000, which no text has"),
    ],
)
def test_what_is_no_text_is_refused_by_name_and_place(tmp_path, content, words):
    write(tmp_path / "notes.txt", content)
    write(tmp_path / "other.txt")
    with pytest.raises(DataError, match=rf"{re.escape(str(tmp_path))}/notes\.txt.*{words}"):
        load(tmp_path)


def test_all_files_that_fail_are_named_at_once(tmp_path):
    for name in "abc":
        write(tmp_path / f"{name}.txt", b"\xff" if name != "b" else FIVE)
    with pytest.raises(DataError, match=r"a\.txt: byte 1.*2 of 3 files cannot be used; the others are .*c\.txt$"):
        load(tmp_path)


def test_files_without_text_are_left_out_and_named(tmp_path):
    write(tmp_path / "a.txt")
    write(tmp_path / "blank.txt", " \n\n\t\n")
    write(tmp_path / "empty.txt", "")
    dataset = load(tmp_path)
    assert dataset.source_names == ("a.txt",)
    assert dataset.remarks == ("2 files without text were left out (blank.txt, empty.txt)",)
    (tmp_path / "a.txt").unlink()
    with pytest.raises(DataError, match=r"text-folder .*: there is no text$"):
        load(tmp_path)


def test_a_huge_line_is_a_text(tmp_path):
    write(tmp_path / "a.txt", "x" * 300_000)
    dataset = load(tmp_path, "context=512")
    assert len(texts(dataset)["a.txt"][0]) == 240_000
    assert len(texts(dataset, "test")["a.txt"][0]) == 60_000


def test_symbolic_links_are_followed_and_circles_refused(tmp_path):
    write(tmp_path / "far" / "a.txt")
    write(tmp_path / "near" / "b.txt")
    (tmp_path / "near" / "linked").symlink_to(tmp_path / "far")
    (tmp_path / "near" / "gone.txt").symlink_to(tmp_path / "nothing")
    dataset = load(tmp_path / "near")
    assert dataset.source_names == ("b.txt", "linked")
    assert "1 symbolic link to nothing was left out (gone.txt)" in dataset.remarks
    (tmp_path / "near" / "round").symlink_to(tmp_path / "near")
    with pytest.raises(DataError, match=r"round: a symbolic link to a folder that it lies in"):
        load(tmp_path / "near")


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    write(tmp_path / "a.txt")

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"a\.txt cannot be read \(Permission denied\)"):
        load(tmp_path)


def test_more_text_than_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    write(tmp_path / "a.txt", "x" * 1000)
    monkeypatch.setattr(text_files, "free_memory", lambda: 19_999)
    with pytest.raises(DataError, match="takes about 0.0 GB of memory"):
        load(tmp_path)
    monkeypatch.setattr(text_files, "free_memory", lambda: 20_000)
    load(tmp_path)


@pytest.mark.parametrize("held_out", ["test", "Validation"])
def test_a_split_by_folders_is_refused_not_mixed(tmp_path, held_out):
    write(tmp_path / "train" / "a.txt")
    write(tmp_path / held_out / "b.txt")
    with pytest.raises(DataError, match=rf'has train and {held_out}.*Set data.root="{tmp_path}/train"'):
        load(tmp_path)
    assert load(tmp_path, f"classes=train,{held_out}").class_names == ("train", held_out)


def test_places_and_options_that_cannot_be(tmp_path):
    write(tmp_path / "a.log")
    with pytest.raises(DataError, match=r"has no files that end with one of \.txt .*not read as text was left out"):
        load(tmp_path)
    with pytest.raises(DataError, match=r"a\.log does not end with one of \.txt"):
        load(tmp_path / "a.log")
    assert load(tmp_path, "endings=.LOG,.srt").source_names == ("a.log",)
    with pytest.raises(ConfigError, match="'txt' is no ending; write them as .txt,.md"):
        load(tmp_path, "endings=txt")
    with pytest.raises(DataError, match="gone is neither a file nor a folder"):
        load(tmp_path / "gone")
    assert TextFolder().status(tmp_path / "gone").startswith("missing: ")
    with pytest.raises(ConfigError, match="data.image-size=28, but data.name='text-folder' holds text"):
        TextFolder(endings=".log").load(tmp_path, image_size=28)


def test_a_site_trains_on_its_own_and_keeps_it_decoded(tmp_path):
    write(tmp_path / "notes" / "a.txt", "\u00e9\n\n" + FIVE)
    state = str(tmp_path / "state")
    spec = f"text-folder context=8:{tmp_path / 'notes'}"
    for place in ("", state, state):
        data._own.cache_clear()
        own = data._own(spec, 0, place)
        assert own.spec.vocabulary == "\nefhinortuvw\u00e9".replace("\n", "")
        assert own.spec.decode(own.test.stored[0][1:].clone().where(own.test.stored[0][1:] != -1, -2)) == "five"
        assert own.digest() == data._own(spec, 0, "").digest()
    write(tmp_path / "notes" / "a.txt")
    data._own.cache_clear()
    assert "\u00e9" not in data._own(spec, 0, state).spec.vocabulary
