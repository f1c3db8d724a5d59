"""Folders as people have them: what of a tree of files is read, what is left out, counted and said, and what fails."""

import errno
import os
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.datasets.remarks import Remarks, printable
from common.errors import DataError

HIDDEN = "{n} hidden or system [file or folder was|files and folders were] left out"
OTHER_KIND = "{n} [file of a kind that is|files of kinds that are] not read as {kind} [was|were] left out"
DANGLING = "{n} symbolic [link|links] to nothing [was|were] left out"
SPECIAL = "{n} [entry that is|entries that are] neither [file nor folder was|files nor folders were] left out"

_SYSTEM = {  # what systems and network drives put beside people's files; besides, all names with a dot in front
    "__macosx", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "temporary items",
    "network trash folder", "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "lost+found",
    "$recycle.bin", "recycler", "system volume information",
}  # fmt: skip
_SYSTEM_ENDS = (":zone.identifier",)  # of a second file that Windows keeps of each downloaded one, where it was copied
_DEEPEST = 100
_NAMED_FAILURES = 5


@dataclass
class Folder:
    """A folder with what is read of it.

    Attributes:
        path: Where it is.
        files: Those directly in it, in order.
        folders: Those directly in it, in order.
    """

    path: Path
    files: list[Path] = field(default_factory=list)
    folders: list["Folder"] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its printable name."""
        return printable(self.path.name)

    def every(self) -> list[Path]:
        """Returns all files at any depth, in order."""
        return sorted(self._walk())

    def __len__(self) -> int:
        """Returns how many files there are at any depth."""
        return len(self.files) + sum(len(folder) for folder in self.folders)

    def _walk(self) -> list[Path]:
        return self.files + [file for folder in self.folders for file in folder._walk()]


def scan(
    root: Path,
    endings: Container[str] | None,
    remarks: Remarks,
    exempt: Container[str] = (),
    kind: str = "images",
) -> Folder:
    """Returns the tree at ``root``; symbolic links are followed.

    Args:
        root: A folder.
        endings: Of the files to take, in lower case with the dot; None: any.
        remarks: Where what is left out is counted.
        exempt: Names that are taken although they look like those of hidden or system folders.
        kind: What the files are read as, for remarks.

    Raises:
        DataError: A folder that cannot be read, or a link that leads back to a folder it lies in; names it.
    """
    return _scanned(root, _Rules(endings, remarks, exempt, kind), ())


@dataclass(frozen=True)
class _Rules:
    endings: Container[str] | None
    remarks: Remarks
    exempt: Container[str]
    kind: str


def failed(failures: Sequence[tuple[Path, DataError]], total: int) -> DataError:
    """Returns one error for all files that cannot be used, of ``total``: the first one's words, the others' names."""
    first, *others = failures
    if not others:
        return first[1]
    named = ", ".join(printable(path) for path, _ in others[:_NAMED_FAILURES])
    more = ", ..." if others[_NAMED_FAILURES:] else ""
    return DataError(f"{first[1]}. {len(failures):,} of {total:,} files cannot be used; the others are {named}{more}")


def _scanned(path: Path, rules: _Rules, above: tuple[tuple[int, int], ...]) -> Folder:
    found = Folder(path)
    try:
        status = path.stat()
        above = (*above, (status.st_dev, status.st_ino))
        with os.scandir(path) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{printable(path)}: the folder cannot be read ({error.strerror})") from error
    for entry in ordered:
        if _is_system(entry.name) and printable(entry.name) not in rules.exempt:
            rules.remarks.add(HIDDEN, entry.name)
        else:
            _take(entry, found, rules, above)
    return found


def _take(entry: "os.DirEntry[str]", found: Folder, rules: _Rules, above: tuple[tuple[int, int], ...]) -> None:
    path = Path(entry.path)
    try:
        if entry.is_dir():
            _refuse_loop(entry, above)
            found.folders.append(_scanned(path, rules, above))
        elif entry.is_file():
            ending = os.path.splitext(entry.name)[1].lower()
            if rules.endings is None or ending in rules.endings:
                found.files.append(path)
            else:
                rules.remarks.add(OTHER_KIND.replace("{kind}", rules.kind), ending or "no ending")
        else:
            rules.remarks.add(DANGLING if entry.is_symlink() else SPECIAL, path)
    except OSError as error:
        why = "a symbolic link to itself" if error.errno == errno.ELOOP else f"cannot be read ({error.strerror})"
        raise DataError(f"{printable(path)}: {why}; remove it") from error


def _refuse_loop(entry: "os.DirEntry[str]", above: tuple[tuple[int, int], ...]) -> None:
    if len(above) > _DEEPEST:
        raise DataError(f"{printable(entry.path)}: more than {_DEEPEST} folders deep")
    if not entry.is_symlink():
        return
    status = entry.stat()
    if (status.st_dev, status.st_ino) in above:
        raise DataError(
            f"{printable(entry.path)}: a symbolic link to a folder that it lies in ({os.readlink(entry.path)!r}), so it"
            " leads around in a circle; remove it"
        )


def _is_system(name: str) -> bool:
    return name.startswith((".", "~$")) or name.lower() in _SYSTEM or name.lower().endswith(_SYSTEM_ENDS)
