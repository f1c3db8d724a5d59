"""Words of texts, and their n-grams as numbers: what scores of texts count."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]

_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


def words(text: str) -> list[str]:
    """Returns the words of a text, in lower case, without white space.

    A word is a run of letters and digits, with the apostrophes inside it (``o'er``), or any other single character:
    ``"Ay, my lord!"`` has the five words ``ay``, ``,``, ``my``, ``lord`` and ``!``.
    """
    return _WORD.findall(text.lower())


@dataclass(frozen=True)
class Grams:
    """The n-grams of some texts, one order after another, as numbers that are equal where the n-grams are.

    Attributes:
        text: Which text each n-gram is of, (N,), ascending.
        number: The n-gram, (N,), in [0, num_different).
        num_different: How many there are.
    """

    text: Numbers
    number: Numbers
    num_different: int

    def counted(self) -> "Counts":
        """Returns how often each text has each of its n-grams."""
        both, counts = np.unique(self.text * self.num_different + self.number, return_counts=True)
        return Counts(both // self.num_different, both % self.num_different, counts)

    def longer(self) -> "Grams":
        """Returns the n-grams of one word more: two that follow each other in a text are one."""
        follows = self.text[:-1] == self.text[1:]
        pairs = (self.number[:-1] * self.num_different + self.number[1:])[follows]
        different, number = np.unique(pairs, return_inverse=True)
        return Grams(self.text[:-1][follows], number, max(len(different), 1))


@dataclass(frozen=True)
class Counts:
    """How often texts have n-grams: (M,) each, a row for each text and n-gram that it has.

    Attributes:
        text: Which text, ascending.
        number: Which n-gram.
        count: How often, at least 1.
    """

    text: Numbers
    number: Numbers
    count: Numbers


def grams(texts: Sequence[Sequence[str]], most: int) -> Iterator[Grams]:
    """Yields the n-grams of texts, for n from 1 to ``most``.

    Args:
        texts: Their words.
        most: The longest n-grams.
    """
    known: dict[str, int] = {}
    number = np.array([known.setdefault(word, len(known)) for text in texts for word in text], np.int64)
    text = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    found = Grams(text, number, max(len(known), 1))
    for order in range(1, most + 1):
        yield found
        if order < most:
            found = found.longer()
