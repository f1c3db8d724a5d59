"""What is done to generated texts afterwards: pure functions on text."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

_SPACES = re.compile(r"[^\S\n]+")
_AROUND_BREAK = re.compile(r" ?\n ?")
_BREAKS = re.compile(r"\n{3,}")
_SENTENCE_END = re.compile(r"""(?<=[.!?\u2026])(?:["')\]\u201d\u2019]*)(?=\s)|\n\s*\n""")
_WORD = re.compile(r"\w+(?:['\u2019-]\w+)*|[^\w\s]")


def normalised(text: str) -> str:
    """Returns a text with single spaces, none at the ends of lines, one empty line at most, and nothing around it.

    Line breaks stay, as verse is made of them; those of other systems become line feeds.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return _BREAKS.sub("\n\n", _AROUND_BREAK.sub("\n", _SPACES.sub(" ", lines))).strip()


def sentences(text: str) -> list[str]:
    """Returns the sentences of a text: what ends with ``.``, ``!``, ``?`` or an ellipsis, or before an empty line."""
    parts, start = [], 0
    for end in _SENTENCE_END.finditer(text):
        parts.append(text[start : end.end()])
        start = end.end()
    return [" ".join(part.split()) for part in (*parts, text[start:]) if part.strip()]


def words(text: str) -> list[str]:
    """Returns the words of a text, and each mark of punctuation, in order; ``don't`` and ``well-read`` are one word."""
    return _WORD.findall(text)


SPLITS: dict[str, Callable[[str], list[str]]] = {"sentences": sentences, "words": words}
"""By the name of what they return."""


def word_filter(banned: Iterable[str]) -> Callable[[str], bool]:
    """Returns what says whether a text holds one of some words or phrases: whole ones, in upper or lower case.

    Args:
        banned: Words, or several with spaces in between, for which any white space stands; empty ones are left out.
    """
    phrases = sorted({phrase for words in banned if (phrase := tuple(_folded(words).split()))})
    if not phrases:
        return lambda text: False
    choices = "|".join(r"\s+".join(map(re.escape, phrase)) for phrase in phrases)
    pattern = re.compile(rf"(?<!\w)(?:{choices})(?!\w)")
    return lambda text: pattern.search(_folded(text)) is not None


def first_of_each(texts: Sequence[str]) -> list[int]:
    """Returns the places of texts, ascending, that are equal to none before them."""
    first: dict[str, int] = {}
    for place, text in enumerate(texts):
        first.setdefault(text, place)
    return list(first.values())


def in_order(texts: Sequence[str]) -> list[int]:
    """Returns the places of texts in alphabetical order, upper and lower case alike; of equal ones the first first."""
    return sorted(range(len(texts)), key=lambda place: (_folded(texts[place]), texts[place], place))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
