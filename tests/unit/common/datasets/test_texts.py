"""What sources of text have in common: who a row is from, and what is held out."""

import numpy as np
import pytest
import torch

from common.datasets.texts import TextDataSource, TextsOfSource
from common.errors import ConfigError, DataError
from common.examples import TextSpec
from common.examples.text import text_of


class Plays(TextDataSource):
    """Some texts, given by the test."""

    @classmethod
    def component_name(cls):
        return "plays"

    def load(self, root, image_size=0):
        raise NotImplementedError

    def status(self, root):
        raise NotImplementedError


def with_label(name, texts, label=0):
    return TextsOfSource(name, texts, (label,) * len(texts))


def dataset(*sources, source=None, **options):
    return (source or Plays(context=4)).dataset([with_label(*it) for it in sources], **options)


def written(examples, overlap):
    """Returns the texts of rows, one after the other, by what is scored of them."""
    scored = examples.stored[:, overlap:].reshape(-1)
    parts, here = [], []
    for point in scored[scored != -2].tolist():
        if point == -1:
            parts.append("".join(here))
            here = []
        else:
            here.append(chr(point))
    return parts


def test_the_last_fifth_of_each_sources_texts_is_held_out_rounded_down():
    nine, ten, four = tuple("abcdefghi"), tuple("klmnopqrst"), tuple("uvwx")
    found = dataset(("nine", nine, 1), ("ten", ten), ("four", four), class_names=("x", "y"))
    overlap = found.train.overlap
    assert found.train.stored.shape[1] == 5
    assert overlap == 3
    assert written(found.train, overlap) == [*nine[:8], *ten[:8], *four]
    assert written(found.test, overlap) == ["i", *ten[8:]]
    assert found.source_names == ("nine", "ten", "four")
    assert sorted(set(found.train_sources.tolist())) == [0, 1, 2]
    assert sorted(set(found.test_sources.tolist())) == [0, 1]
    for examples, sources in ((found.train, found.train_sources), (found.test, found.test_sources)):
        assert examples.labels.tolist() == (sources == 0).astype(int).tolist()
        assert sources.dtype == np.int64
    of_ten = torch.from_numpy(found.test_sources == 1)
    assert set(text_of(found.test.stored[of_ten][0, 3:])) == {"s"}
    assert found.labelled
    assert found.spec == TextSpec(5, 3, "abcdefghiklmnopqrstuvwx", 2)


def test_rows_of_two_sources_share_nothing():
    found = dataset(("one", ("aaaaaaaaa",) * 5), ("two", ("bbbbbbbbb",) * 5))
    for row, source in zip(found.train.stored, found.train_sources, strict=True):
        assert set(row.tolist()) - {-1, -2} == {ord("ab"[source])}


def test_of_a_single_source_with_few_texts_the_end_of_the_last_is_held_out():
    found = dataset(("alone", ("abc", "defghijklm")))
    assert written(found.train, 3) == ["abc", "defghijk"]
    assert written(found.test, 3) == ["lm"]
    assert not found.labelled
    five = dataset(("alone", tuple("abcde")))
    assert (written(five.train, 3), written(five.test, 3)) == (["a", "b", "c", "d"], ["e"])
    short = dataset(("alone", ("a", "b")))
    assert (written(short.train, 3), written(short.test, 3)) == (["a"], ["b"])


def test_characters_of_held_out_texts_are_known_and_bytes_need_none():
    texts = ("ab", "ab", "ab", "ab", "é")
    assert dataset(("one", texts)).spec.vocabulary == "abé"
    found = dataset(("one", texts), source=Plays(context=4, tokens="bytes"))
    assert found.spec.vocabulary == ""
    assert found.test.stored.tolist() == [[-2, -2, -1, 0xC3, 0xA9], [-1, 0xC3, 0xA9, -1, -2]]


def test_the_share_that_is_held_out_is_an_option():
    found = dataset(("one", tuple("abcd")), source=Plays(context=4, held_out=0.5))
    assert written(found.test, 3) == ["c", "d"]


def test_what_makes_no_data_set_is_refused_with_the_reason():
    with pytest.raises(DataError, match="plays: there is no text"):
        dataset()
    with pytest.raises(DataError, match="no source has 5 texts, of which one would be held out"):
        dataset(("one", tuple("abcd")), ("two", tuple("abcd")))
    with pytest.raises(DataError, match="no text to train on"):
        dataset(("one", ("a",)))
    with pytest.raises(ConfigError, match="data.image-size=28, but data.name='plays' holds text: leave it at 0"):
        dataset(("one", tuple("abcde")), image_size=28)
