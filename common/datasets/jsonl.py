"""JSON Lines: a text is a field of a line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import Field

from common.datasets.base import UNLABELLED, Dataset, listed
from common.datasets.folders import Folder
from common.datasets.layout import listed_classes
from common.datasets.remarks import Remarks, printable
from common.datasets.text_files import EMPTY, read_text, remarks_at, require_memory, tidied, tree_at
from common.datasets.texts import TextDataSource, TextsOfSource
from common.errors import DataError

ENDINGS = (".jsonl", ".ndjson", ".json")

NO_TEXT = "{n} [line|lines] whose text is empty [was|were] left out"

_FEW = 50  # classes that need not have two texts each
_LONGEST = 200  # characters of the name of a source or a class
_SHOWN = 80  # characters of a line in a message


class _Line(NamedTuple):
    """The text of a line, where it is from and what class it has; ``label`` is "" without ``label=``."""

    text: str
    source: str
    label: str


class Jsonl(TextDataSource):
    """JSON Lines in UTF-8 at ``data.root``, one file or a folder of them: an object a line, whose ``field`` is a text.

    A source is a file, or with ``source=`` all lines with the same value of that field. With ``label=`` the values of
    that field are the classes, in alphabetical order.
    """

    is_public: ClassVar[bool] = False
    source: ClassVar[str] = "JSON Lines, jsonlines.org"

    field: str = Field("text", min_length=1, description="of each line, that has the text")
    source_field: str = Field("", alias="source", description="that says who or what a text is from; empty: its file")
    label: str = Field("", description="that has the class of a text; empty: there are no classes")
    classes: str = Field(
        "",
        description="classes in the order of their labels, separated by commas, or by / where they have commas; empty:"
        " those there are, sorted. Sites with different classes need the same list, and may lack some",
    )

    def load(self, root: Path | None, *, image_size: int = 0, download: bool = True) -> Dataset:
        """Returns the texts of all lines; see ``DataSource.load``."""
        place = self.located(root)
        remarks = remarks_at(place)
        tree = tree_at(place, ENDINGS, remarks)
        require_memory(tree, place)
        lines = [line for file in tree.every() for line in self._lines(file, remarks)]
        names = self._classes(lines, place)
        numbers = {name: number for number, name in enumerate(names)}
        grouped: dict[str, tuple[list[str], list[int]]] = {}
        for line in lines:
            texts, labels = grouped.setdefault(line.source, ([], []))
            texts.append(line.text)
            labels.append(numbers[line.label] if self.label else 0)
        sources = [TextsOfSource(source, tuple(texts), tuple(labels)) for source, (texts, labels) in grouped.items()]
        return self.dataset(sources, place=place, image_size=image_size, class_names=names, remarks=remarks.sentences())

    def status(self, root: Path | None) -> str:
        """Returns how many files there are; see ``DataSource.status``."""
        place = self.located(root)
        try:
            tree: Folder = tree_at(place, ENDINGS, remarks_at(place))
            size = sum(file.stat().st_size for file in tree.every())
        except (DataError, OSError) as error:
            return f"missing: {error}"
        return f"there, not checked: {printable(place)} ({len(tree):,} files, {size / 1e6:.1f} MB)"

    def _lines(self, path: Path, remarks: Remarks) -> Iterator[_Line]:
        """Yields what is read of the lines of a file; blank lines, and those whose text is, are left out."""
        empty = True
        for number, line in enumerate(read_text(path, remarks).split("\n"), 1):
            if not line.strip():
                continue
            where = f"{printable(path)}: line {number}"
            record = _record(line, where)
            text = self._value(record, self.field, where)
            if not isinstance(text, str):
                raise DataError(f"{where}: {self.field!r} is {_shown(text)}, not a string; field= takes one that is")
            try:
                text = tidied(text).strip("\n")
            except DataError as error:
                raise DataError(f"{where}: the text's {error}") from None
            source = self._name(record, self.source_field, where) or remarks.below(path)
            label = self._name(record, self.label, where)
            empty = False
            if text.strip():
                yield _Line(text, source, label)
            else:
                remarks.add(NO_TEXT, f"{remarks.below(path)} line {number}")
        if empty:
            remarks.add(EMPTY, path)

    def _value(self, record: dict[str, Any], key: str, where: str) -> Any:
        if key not in record:
            raise DataError(
                f"{where} has no {key!r}; it has {listed([printable(name)[:_SHOWN] for name in record]) or 'no fields'}"
            )
        return record[key]

    def _name(self, record: dict[str, Any], key: str, where: str) -> str:
        """Returns the name of a line's source or class; empty where there is no such option."""
        if not key:
            return ""
        value = self._value(record, key, where)
        name = printable(str(value)).strip() if isinstance(value, str | int) else ""
        if not name or len(name) > _LONGEST:
            raise DataError(
                f"{where}: {key!r} is {_shown(value)}; expected a name of at most {_LONGEST} characters, or a whole"
                " number"
            )
        return name

    def _classes(self, lines: list[_Line], place: Path) -> tuple[str, ...]:
        """Returns the names of the classes, in the order of their labels."""
        named = listed_classes(self.classes)
        if not self.label:
            if named:
                raise DataError(f"data classes={self.classes!r} needs label=, the field that has the class of a text")
            return UNLABELLED
        found = {line.label for line in lines}
        if named:
            if unknown := sorted(found - set(named)):
                raise DataError(
                    f"{printable(place)} has classes that are not among {listed(named)}: {listed(unknown)}; add them to"
                    " classes=, or take their lines away"
                )
            return named
        if len(found) > max(_FEW, len(lines) / 2):
            raise DataError(
                f"{printable(place)}: {self.label!r} has {len(found):,} different values in {len(lines):,} lines: are"
                " these ids and no classes? Take label= away"
            )
        return tuple(sorted(found))


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON ({error}); each line has to be one object: {_shown(line)}") from None
    if not isinstance(record, dict):
        raise DataError(f'{where} is {_shown(record)}, not an object as {{"text": ...}}')
    return record


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
