"""What the folders of a data set mean: classes, or the split into training and held-out images, each with classes."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.datasets.base import UNLABELLED
from common.datasets.folders import Folder
from common.datasets.remarks import Remarks, listed, printable
from common.errors import DataError

BESIDE = "{n} [image|images] beside the class folders [was|were] left out"
OTHERS = "{n} [folder|folders] beside those of the split [was|were] left out"
UNUSED = "{n} [folder|folders] without images [was|were] left out"
NOT_SPLIT = "{n} class [folder has a folder|folders have folders] called train or test, which [is|are] no split there"

CLASSES = (
    "class folders in the order of their labels, separated by commas, or by / where names have commas; empty: those"
    " that there are, sorted. Sites with different classes need the same list, and may lack some of its folders"
)
"""What the option ``classes`` of sources that read folders is."""

Role = Literal["train", "test", "val"]

_ROLE = re.compile(r"(?:(train|training)|(test|testing)|(val|valid|validation))(?:[ _-]?(?:set|data|images))?")


@dataclass(frozen=True)
class Layout:
    """Which files are what.

    Attributes:
        names: Of the classes, in the order of their labels; ``UNLABELLED`` without class folders.
        parts: All files with their labels, or those to train on and those held out.
    """

    names: tuple[str, ...]
    parts: tuple[list[tuple[Path, int]], ...]


def listed_classes(classes: str) -> tuple[str, ...]:
    """Returns the names of the classes that a user lists, in order; see ``CLASSES``.

    Raises:
        DataError: One stands there twice.
    """
    apart = "/" if "/" in classes else ","  # which no folder's name has
    names = [name if apart == "/" else name.strip() for name in classes.split(apart)]
    named = tuple(printable(name) for name in names if name)
    if len(set(named)) < len(named):
        raise DataError(f"data classes={classes!r} names a class twice")
    return named


def laid_out(top: Folder, named: Sequence[str], remarks: Remarks) -> Layout:
    """Returns what the folders below ``top`` mean.

    Args:
        top: The data set.
        named: The classes that the user lists, in order; empty: those there are.
        remarks: Where what is understood, and what is left out, is said.

    Raises:
        DataError: A layout that can be read in two ways, half a split, or classes that are not listed; names folders.
    """
    parts = _split(top, named, remarks)
    if not named and any(part.files for part in parts) and not any(_classes(part) for part in parts):
        for part in parts:
            _leave(part.folders, UNUSED, remarks)
        return Layout(UNLABELLED, tuple([(file, 0) for file in part.files] for part in parts))
    folders = [by_name(part) for part in parts]
    names = tuple(named) or tuple(sorted({name for part in folders for name in part}))
    for part, found in zip(parts, folders, strict=True):
        unknown = {name: folder for name, folder in found.items() if name not in names}
        if full := [name for name, folder in unknown.items() if len(folder)]:
            raise DataError(
                f"{printable(part.path)} has classes that are not among {listed(names)}: {listed(full)}; add them to"
                " classes=, or take their folders away"
            )
        _leave(unknown.values(), UNUSED, remarks)
        for file in part.files:
            remarks.add(BESIDE, file)
        _say_what_is_no_class(found, remarks)
    holding = _classes(parts[0])
    if not named and len(holding) == 1 < len(parts[0].folders) and holding[0].files:  # images/ beside labels/
        remarks.say(
            f"{holding[0].name} is the only folder with images; if it is no class, set"
            f' data.root="{printable(holding[0].path)}" and partition="iid"'
        )
    if len(parts) == 1 and {"train", "test"} <= {word for name in names for word in re.split(r"[\W_]+", name.lower())}:
        remarks.say("folders whose names have train and test in them are classes here; call them train and test if not")
    labelled = tuple(
        [(file, label) for label, name in enumerate(names) if name in found for file in found[name].every()]
        for found in folders
    )
    return Layout(names, labelled)


def _split(top: Folder, named: Sequence[str], remarks: Remarks) -> tuple[Folder, ...]:
    """Returns the folders of the training and of the held-out images, or ``top`` alone, which is no split."""
    roles: dict[Role, list[Folder]] = {}
    for folder in top.folders:
        if role := role_of(folder.name):
            roles.setdefault(role, []).append(folder)
    others = [folder for folder in _classes(top) if not role_of(folder.name)]
    deep = any(_classes(folder) for folders in roles.values() for folder in folders)
    if not roles or {folder.name for folder in _classes(top)} <= set(named):
        return (top,)
    held_out = [*roles.get("test", ()), *roles.get("val", ())]
    whole = bool("train" in roles and held_out)
    if others and not deep and not whole:
        return (top,)  # a class may be called so: cars, buses, trains
    names = listed([folder.name for folder in top.folders if role_of(folder.name)])
    if not whole:
        half = next(iter(roles.values()))[0]
        raise DataError(
            f"{printable(top.path)} has {names}, but not both a training and a test folder; add the other, or set"
            f' data.root="{printable(half.path)}" to hold out a share of it, or, if {half.name} is a class, list all'
            " classes: data.name='image-folder classes=A,B'"
        )
    if others and not deep:
        raise DataError(
            f"{printable(top.path)} has {names}, but also {listed([folder.name for folder in others])}: if all are"
            " classes, list them: data.name='image-folder classes=A,B'; if it is a split, take the others away"
        )
    return _named_split(top, roles, remarks)


def _named_split(top: Folder, roles: dict[Role, list[Folder]], remarks: Remarks) -> tuple[Folder, Folder]:
    for folders in roles.values():
        if len(folders) > 1:
            raise DataError(
                f"{printable(top.path)} has {' and '.join(folder.name for folder in folders)}, which mean the same part"
                " of a split; make one folder of them"
            )
    train, *held_out = [roles[role][0] for role in ("train", "test", "val") if role in roles]
    alike = [folder for folder in held_out if bool(_classes(folder)) == bool(_classes(train)) and len(folder)]
    test = (alike or held_out)[0]
    if len(train) and len(test) and test not in alike:
        flat, deep = (test, train) if _classes(train) else (train, test)
        raise DataError(
            f"{printable(flat.path)} has no class folders, but {printable(deep.path)} has; sort both into classes or"
            f' neither, or set data.root="{printable(train.path)}" to hold out a share of it'
        )
    remarks.say(f"{train.name} and {test.name} are the split: {len(train):,} and {len(test):,} images")
    for folder in held_out:
        if folder is not test:
            remarks.say(f"{folder.name} ({len(folder):,} images) was left out, as {test.name} is what is held out")
    _leave([folder for folder in top.folders if not role_of(folder.name)], OTHERS, remarks)
    return train, test


def role_of(name: str) -> Role | None:
    """Returns the part of a split that a folder's name means; None: it is a name as any other."""
    match = _ROLE.fullmatch(name.lower())
    if match is None:
        return None
    return "train" if match[1] else "test" if match[2] else "val"


def _classes(folder: Folder) -> list[Folder]:
    """Returns the folders in it that hold images."""
    return [inner for inner in folder.folders if len(inner)]


def by_name(part: Folder) -> dict[str, Folder]:
    """Returns the folders in a folder by their printable names.

    Raises:
        DataError: Two have the same one.
    """
    found: dict[str, Folder] = {}
    for folder in part.folders:
        if folder.name in found:
            raise DataError(f"{printable(part.path)} has two folders that are both written {folder.name}; rename one")
        found[folder.name] = folder
    return found


def _leave(folders: Iterable[Folder], kind: str, remarks: Remarks) -> None:
    for folder in folders:
        remarks.add(kind, folder.path)


def _say_what_is_no_class(found: dict[str, Folder], remarks: Remarks) -> None:
    """Says where folders in class folders look as if they were what the user meant."""
    for folder in found.values():
        if any(role_of(inner.name) for inner in _classes(folder)):
            remarks.add(NOT_SPLIT, folder.path)
    if len(found) == 1:
        (only,) = found.values()
        while len(_classes(only)) == 1 and not only.files:  # unpacked into folders of one name, as Windows does
            only = _classes(only)[0]
        if len(_classes(only)) > 1 and not only.files:
            remarks.say(
                f"{only.name} is the only class; if its folders {listed([inner.name for inner in _classes(only)])} are"
                f' what you mean, set data.root="{printable(only.path)}"'
            )
