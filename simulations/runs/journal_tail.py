"""A journal as it grows: whole lines once, torn ones when they are whole."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.files import open_file
from common.journal_lines import JournalLine, is_event
from server.records import run_files

_MOST = 8 * 2**20  # bytes read at once: bounds memory for one look
_FOLDERS = re.compile(r"(?<![\w/:.])~?(?:/[^\s/'\":;,()=]+)+/(?=[^\s/'\":;,()=])")
_MOST_NAMED = 3
_TRACE = 64  # bytes before the offset by which a rewritten journal is known


@dataclass(frozen=True)
class News:
    """What one look found.

    Attributes:
        lines: Whole, readable lines, each with the offset of its end.
        anew: Whether the journal was cut or replaced, as after going back or a resume: all lines before are void, and
            ``lines`` are those from its beginning.
        more: Whether there is more to read at once.
    """

    lines: list[tuple[int, JournalLine]]
    anew: bool
    more: bool


class Tail:
    """Reads a journal from an offset on; keeps no file open between looks.

    A line counts when its newline is there. One that is no journal line (torn by a crash and written over) is passed
    over and counted, and never keeps those after it back. One that does not fit in parts counts without them.

    Args:
        path: The journal; it need not be there yet.
        offset: Where to begin, the end of a line; one that no line ends at means from the beginning, ``anew``.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._path = path
        self._file: int | None = None
        self._trace = b""
        self._resumed = offset > 0
        self._rows = 0
        self._unread, self._partly, self._no_file = "", "", ""
        self.offset = offset
        self.unreadable, self.partly = 0, 0

    @property
    def problems(self) -> list[str]:
        """The name of the journal and what of it cannot be read, in words."""
        rows = (
            (bool(self._no_file), self._no_file),
            (self.unreadable, f"{self.unreadable} line(s) cannot be read and were passed over: {self._unread}"),
            (self.partly, f"{self.partly} line(s) cannot be read in full: {self._partly}"),
        )
        return [f"{self._path.name}: {words}" for count, words in rows if count]

    def look(self) -> News:
        """Returns what is new since the last look."""
        try:
            with open_file(self._path) as file:
                anew = self._begin(file)
                file.seek(self.offset)
                block = file.read(_MOST)
        except OSError as error:
            anew = self._reset() if self.offset else False
            self._no_file = "" if isinstance(error, FileNotFoundError) else f"{error.strerror or error}"
            return News([], anew, more=False)
        self._no_file = ""
        full = len(block) == _MOST
        whole = block[: block.rfind(b"\n") + 1] or (block if full else b"")  # no line is that long
        lines = []
        for raw in whole.splitlines(keepends=True):
            self.offset += len(raw)
            self._rows += 1
            line = self._parsed(raw) if raw.strip() else None
            if line is not None:
                lines.append((self.offset, line))
        self._trace = (self._trace + whole)[-_TRACE:]
        return News(lines, anew, more=full)

    def _begin(self, file: Any) -> bool:
        """Returns whether what was read before is not what the file begins with; then the offset is its beginning."""
        status = os.fstat(file.fileno())
        replaced = self._file is not None and self._file != status.st_ino
        self._file = status.st_ino
        if not self.offset:
            return replaced
        length = min(_TRACE, self.offset)
        file.seek(self.offset - length)
        before = file.read(length)
        if self._resumed:  # an offset of somebody else: believed if a line ends there
            self._resumed = False
            kept = before.endswith(b"\n") and len(before) == length
            self._trace = before
        else:
            kept = before[-len(self._trace) :] == self._trace and len(before) == length
        return not (kept and not replaced) and self._reset()

    def _reset(self) -> bool:
        self.offset, self._trace = 0, b""
        self._rows, self.unreadable, self.partly = 0, 0, 0
        return True

    def _parsed(self, raw: bytes) -> JournalLine | None:
        try:
            line, problems = run_files.journal_line(raw)
        except ValueError as error:
            self._unread = f"the last is line {self._rows}: {error}"
            self.unreadable += 1
            return None
        if problems:
            self._partly = f"the last is line {self._rows}: {'; '.join(problems[:_MOST_NAMED])}"
            self.partly += 1
        return _without_folders(line)


def _without_folders(line: JournalLine) -> JournalLine:
    """Returns a line whose reasons name files, but not the folders of the host that they are in."""
    if is_event(line):
        line["reason"] = _FOLDERS.sub("…/", line["reason"])
    for refused in line.get("refused", ()):
        refused["reason"] = _FOLDERS.sub("…/", refused["reason"])
    return line
