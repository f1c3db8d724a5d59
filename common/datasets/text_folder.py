"""A folder of text files, or one of them: each file or sub folder directly in it is a source."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from common.datasets.base import UNLABELLED, Dataset, listed
from common.datasets.folders import Folder, failed
from common.datasets.layout import CLASSES, by_name, listed_classes, role_of
from common.datasets.remarks import Remarks, printable
from common.datasets.text_files import EMPTY, read_text, remarks_at, require_memory, tree_at
from common.datasets.texts import TextDataSource, TextsOfSource
from common.errors import DataError

ENDINGS = (".txt", ".text", ".md", ".markdown", ".rst", ".org", ".adoc", ".tex")
"""Of the files that are read, where the user does not list others."""

BESIDE = "{n} [file|files] beside the class folders [was|were] left out"
MIXED = "files and folders stand beside each other: each is a source, and the folders are no classes (list them if so)"
UNUSED = "{n} [folder|folders] without files of text [was|were] left out"

_BETWEEN_PARAGRAPHS = re.compile(r"\n\s*\n")


@dataclass(frozen=True)
class _Part:
    """The files of one source, and their class."""

    name: str
    files: list[Path]
    label: int = 0


class TextFolder(TextDataSource):
    """Text files in UTF-8 at ``data.root``, a folder or one file: ``*.txt``, ``*.md`` and the like.

    A source is each file directly in the folder, and each sub folder with all that is below it. Where there are only
    sub folders, two or more, they are the classes as well. A text is a paragraph, what stands between blank lines, or
    with ``text=file`` a whole file; then the files directly in the folder are one source together.
    """

    is_public: ClassVar[bool] = False
    source: ClassVar[str] = "plain text, UTF-8 (RFC 3629)"

    text: Literal["paragraph", "file"] = Field(
        "paragraph", description="what a text is: what stands between blank lines, or a whole file"
    )
    endings: str = Field("", description=f"of files to read, separated by commas; empty: {' '.join(ENDINGS)}")
    classes: str = Field("", description=CLASSES)

    @field_validator("endings")
    @classmethod
    def _are_endings(cls, text: str) -> str:
        if odd := [one for one in text.split(",") if text and not re.fullmatch(r"\.[^./\s]+", one)]:
            raise ValueError(f"{odd[0]!r} is no ending; write them as .txt,.md")
        return text

    def load(self, root: Path | None, *, image_size: int = 0, download: bool = True) -> Dataset:
        """Returns the text of all files; see ``DataSource.load``."""
        place = self.located(root)
        remarks = remarks_at(place)
        tree, parts, names = self._laid_out(place, remarks)
        require_memory(tree, place)
        failures: list[tuple[Path, DataError]] = []
        sources = []
        for part in parts:
            texts: list[str] = []
            for file in part.files:
                try:
                    found = self._texts(read_text(file, remarks))
                except DataError as error:
                    failures.append((file, error))
                    continue
                if not found:
                    remarks.add(EMPTY, file)
                texts += found
            if texts:
                sources.append(TextsOfSource(part.name, tuple(texts), (part.label,) * len(texts)))
        if failures:
            raise failed(failures, len(tree))
        return self.dataset(sources, place=place, image_size=image_size, class_names=names, remarks=remarks.sentences())

    def status(self, root: Path | None) -> str:
        """Returns how many files and sources there are; see ``DataSource.status``."""
        place = self.located(root)
        try:
            tree, parts, names = self._laid_out(place, remarks_at(place))
        except DataError as error:
            return f"missing: {error}"
        return (
            f"there, not checked: {printable(place)} ({len(tree):,} files, {len(parts):,} sources; classes:"
            f" {listed(names)})"
        )

    def _texts(self, text: str) -> list[str]:
        parts = [text] if self.text == "file" else _BETWEEN_PARAGRAPHS.split(text)
        return [part.strip("\n") for part in parts if part.strip()]

    def _laid_out(self, place: Path, remarks: Remarks) -> tuple[Folder, list[_Part], tuple[str, ...]]:
        """Returns all files, which of them make a source, and the names of the classes."""
        named = listed_classes(self.classes)
        tree = tree_at(place, tuple(self.endings.lower().split(",")) if self.endings else ENDINGS, remarks, named)
        folders = by_name(tree)
        for name, folder in folders.items():
            if not len(folder) and name not in named:
                remarks.add(UNUSED, folder.path)
        folders = {name: folder for name, folder in folders.items() if len(folder)}
        _refuse_split(place, [name for name in folders if name not in named])
        if not named and len(folders) > 1 and not tree.files:
            named = tuple(sorted(folders))
        if not named:
            if folders and tree.files:
                remarks.say(MIXED)
            inner = [_Part(name, folder.every()) for name, folder in folders.items()]
            return tree, [*self._alone(tree, place), *inner], UNLABELLED
        if unknown := [name for name in folders if name not in named]:
            raise DataError(
                f"{printable(place)} has classes that are not among {listed(named)}: {listed(unknown)}; add them to"
                " classes=, or take their folders away"
            )
        for file in tree.files:
            remarks.add(BESIDE, file)
        parts = [_Part(name, folders[name].every(), k) for k, name in enumerate(named) if name in folders]
        return tree, parts, named

    def _alone(self, tree: Folder, place: Path) -> list[_Part]:
        """Returns the sources that the files directly in the folder are."""
        if self.text == "file" and tree.files:
            return [_Part(printable(place.name), tree.files)]
        return [_Part(printable(file.name), [file]) for file in tree.files]


def _refuse_split(place: Path, names: list[str]) -> None:
    """Refuses folders that are called train and test, which would be read as two sources."""
    roles = {role_of(name): name for name in names}
    held_out = roles.get("test") or roles.get("val")
    if "train" in roles and held_out:
        raise DataError(
            f"{printable(place)} has {roles['train']} and {held_out}, and text-folder knows no such split: it holds out"
            f' the last texts of each source. Set data.root="{printable(place / roles["train"])}", or, if these are'
            " classes, list all of them: data.name='text-folder classes=A,B'"
        )
