"""Sentences on what was left out of a data set or done to its images, each kind said once with its number.

A kind is one sentence with ``{n}`` for the number and ``[one|many]`` for words that go by it.
"""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

_EXAMPLES = 4  # of each kind
_NAMES = 20  # of classes, where all are listed
_BY_NUMBER = re.compile(r"\[([^|\]]*)\|([^\]]*)\]")


class Remarks:
    """Counts what happens to the files of one folder.

    Args:
        root: What examples are named relative to.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: dict[str, tuple[int, dict[str, None]]] = {}

    def add(self, kind: str, example: Path | str) -> None:
        """Counts one more of a kind; ``example`` is a file, or the words for one."""
        count, examples = self._found.get(kind, (0, {}))
        if len(examples) <= _EXAMPLES:
            examples[self.below(example) if isinstance(example, Path) else printable(example)] = None
        self._found[kind] = count + 1, examples

    def say(self, sentence: str) -> None:
        """Adds a sentence of its own."""
        self._found.setdefault(sentence, (0, {}))

    def below(self, path: Path) -> str:
        """Returns a path as examples show it."""
        return printable(path.relative_to(self._root) if path.is_relative_to(self._root) else path)

    def sentences(self) -> tuple[str, ...]:
        """Returns one sentence a kind, in the order in which they were met, with the first examples."""
        return tuple(_sentence(kind, count, [*examples]) for kind, (count, examples) in self._found.items())


def _sentence(kind: str, count: int, examples: list[str]) -> str:
    if not examples:
        return kind
    return f"{worded(kind, count)} ({', '.join(examples[:_EXAMPLES])}{', ...' if examples[_EXAMPLES:] else ''})"


def worded(kind: str, number: int) -> str:
    """Returns the sentence ``kind`` for a number: ``worded("{n} [file is|files are] hidden", 1)``, 1 file is hidden."""
    return _BY_NUMBER.sub(lambda match: match[1 if number == 1 else 2], kind).replace("{n}", f"{number:,}")


def printable(name: str | Path) -> str:
    r"""Returns a name that any file, terminal or message can hold.

    Bytes that are no UTF-8 and control characters are escaped (``caf\xe9``), and accents have one form (NFC), so that
    the same name typed on a Mac and on Linux is the same class. Other names stay as they are.
    """
    text = str(name)
    if text.isascii() and text.isprintable():
        return text
    whole = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in ("Cc", "Zl", "Zp")
        else character
        for character in unicodedata.normalize("NFC", whole)
    )


def listed(names: Sequence[str]) -> str:
    """Returns the first names in one line; those that could be misread in it are in quotation marks."""
    shown = [repr(name) if "," in name or name != name.strip() or not name else name for name in names[:_NAMES]]
    return ", ".join(shown) + (f" and {len(names) - _NAMES} more" if len(names) > _NAMES else "")
