"""Files of text as people have them: read as UTF-8 with one kind of line end, or refused by name, line and byte."""

import codecs
import unicodedata
from pathlib import Path

from common.datasets.archives import free_memory
from common.datasets.folders import Folder, scan
from common.datasets.remarks import Remarks, printable
from common.errors import DataError

MARKED = "{n} [file|files] began with a byte order mark, which was left out"
EMPTY = "{n} [file|files] without text [was|were] left out"

_WIDE = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
_NEEDED = 20  # bytes of memory a byte of ASCII, until it stands in rows: each character is in two of them, as int32


def remarks_at(place: Path) -> Remarks:
    """Returns remarks that name files relative to a place, or to the folder of the one file that it is."""
    return Remarks(place.parent if place.is_file() else place)


def tree_at(place: Path, endings: tuple[str, ...], remarks: Remarks, named: tuple[str, ...] = ()) -> Folder:
    """Returns the files with some endings at a place, which may be a folder or one of them.

    Args:
        place: Absolute.
        endings: In lower case, with the dot.
        remarks: Where what is left out is counted.
        named: Folders that are taken although they look hidden.

    Raises:
        DataError: There is nothing at the place, no such file, or a folder that cannot be read.
    """
    shown = " ".join(endings)
    if place.is_file():
        if place.suffix.lower() not in endings:
            raise DataError(f"{printable(place)} does not end with one of {shown}; rename it")
        return Folder(place.parent, [place])
    if not place.is_dir():
        raise DataError(f"{printable(place)} is neither a file nor a folder; set data.root to one")
    tree = scan(place, endings, remarks, named, kind="text")
    if not len(tree):
        left_out = "".join(f"; {sentence}" for sentence in remarks.sentences())
        raise DataError(f"{printable(place)} has no files that end with one of {shown}{left_out}")
    return tree


def require_memory(tree: Folder, place: Path) -> None:
    """Checks that the text of the files fits into this machine's free memory.

    Raises:
        DataError: It does not, or a file is gone.
    """
    try:
        needed = _NEEDED * sum(file.stat().st_size for file in tree.every())
    except OSError as error:
        raise DataError(f"{printable(place)}: the files change while they are read ({error})") from error
    free = free_memory()
    if free is not None and needed > free:
        raise DataError(
            f"{printable(place)}: takes about {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free; take"
            " fewer files"
        )


def read_text(path: Path, remarks: Remarks) -> str:
    r"""Returns the text of a file, lines apart by ``\n``.

    Raises:
        DataError: It cannot be read, or is no text in UTF-8; names the file, and line and byte of what is wrong.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read ({error.strerror})") from error
    for mark, name in _WIDE.items():
        if data.startswith(mark):
            raise DataError(f"{printable(path)} is {name}; save it as UTF-8")
    if data.startswith(codecs.BOM_UTF8):
        remarks.add(MARKED, path)
        data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        at = error.start - data.rfind(b"\n", 0, error.start)
        raise DataError(
            f"{printable(path)}: byte {at} of line {line} (0x{data[error.start]:02x}) is not UTF-8; save it as UTF-8,"
            " for instance by iconv -f WINDOWS-1252 -t UTF-8, if that is what it is"
        ) from None
    try:
        return tidied(text)
    except DataError as error:
        raise DataError(f"{printable(path)}: {error}") from None


def tidied(text: str) -> str:
    r"""Returns text with ``\n`` at the ends of its lines, and nothing else changed.

    Raises:
        DataError: It holds a character that no text has: NUL, or half of a pair of surrogates.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    at = text.find("\0")
    if at < 0:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            at = error.start
    if at >= 0:
        line = text.count("\n", 0, at) + 1
        what = unicodedata.name(text[at], f"U+{ord(text[at]):04X}")
        raise DataError(f"line {line} holds the character {what}, which no text has; take it out")
    return text
