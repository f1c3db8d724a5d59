"""One NumPy archive with the images, and perhaps their labels, of one site."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, field_validator

from common.datasets.archives import Archive
from common.datasets.base import MOST_CLASSES, UNLABELLED, Dataset, DataSource, naming, squared, stratified_split
from common.datasets.labels import Labels, classes_of, fits
from common.datasets.pixels import as_bytes, channels_first
from common.errors import DataError
from common.examples import ImageSet

Role = Literal["images", "labels"]
Roles = dict[str, dict[Role, str]]
"""By part (train, test, val), the names of the arrays of its images and labels."""

_ORIGIN = "fedgan"  # where generated images come from: not an array of images, and not needed
_WORDS: dict[Role, frozenset[str]] = {
    "images": frozenset(
        {"images", "image", "imgs", "img", "pictures", "pixels", "data", "samples", "inputs", "features", "x"}
    ),
    "labels": frozenset({"labels", "label", "lbls", "targets", "target", "classes", "class", "y"}),
}
_COUNTS = frozenset({"id", "ids", "index", "indices", "idx", "number", "numbers"})
_PARTS = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("test", "testing", "te"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
}


class Npz(DataSource):
    """An ``.npz`` file at ``data.root``, with the arrays ``images`` and, if it likes, ``labels``.

    And if it likes ``test_images`` and ``test_labels``, without which a fixed share is held out. Other usual names are
    known (``x_train``, ``y_test``, ``data``, ``targets``, ``arr_0``); docs/data.md has all that is read.
    """

    is_public: ClassVar[bool] = False
    source: ClassVar[str] = "numpy.savez, numpy.savez_compressed"

    held_out: float = Field(0.2, gt=0, lt=1, description="share to hold out of a file without test_images")
    num_classes: int = Field(
        0,
        ge=0,
        le=MOST_CLASSES,
        description="number of classes; 0: the largest label + 1. Sites that lack classes need it set",
    )
    value_range: str = Field(
        "",
        alias="range",
        description="LOW,HIGH: the values of black and white, for images that are not bytes, as 0,1 or -1,1 or 0,4095",
    )

    @field_validator("value_range")
    @classmethod
    def _read_range(cls, text: str) -> str:
        _limits(text)
        return text

    def load(self, root: Path | None, *, image_size: int = 0, download: bool = True) -> Dataset:
        """Returns the images of the file; see ``DataSource.load``."""
        path = self.located(root)
        archive = Archive(path)
        with naming(path):
            roles, remarks = roles_of(archive)
            read = {name: archive.read(name) for name in self._arrays_to_read(archive, roles)}
            labels, names = self._labels(read, roles)
            parts = []
            for part in ("train", "test"):
                if part in roles:
                    name = roles[part]["images"]
                    pixels, added = self._pixels(name, read.pop(name))
                    remarks += added
                    own = labels.get(part, np.zeros(len(pixels), np.int64))
                    parts.append(ImageSet(squared(pixels, image_size), torch.from_numpy(own)))
            if by_rule := len(parts) == 1:
                chosen, held_out = stratified_split(parts[0].labels.numpy(), self.held_out)
                parts = [parts[0].subset(chosen), parts[0].subset(held_out)]
            title = f"{self.component_name()} {path}"
            labelled, words = names is not UNLABELLED, tuple(remarks)
            return Dataset(title, parts[0], parts[1], names, labelled, words, parted_by_rule=by_rule)

    def status(self, root: Path | None) -> str:
        """Returns whether the file is there, and its arrays; see ``DataSource.status``."""
        path = self.located(root)
        try:
            archive = Archive(path)
            with naming(path):
                roles_of(archive)
        except DataError as error:
            return f"{'unusable' if path.is_file() else 'missing'}: {error}"
        return f"there, not checked: {path} ({path.stat().st_size / 1e6:.1f} MB; {archive})"

    def _arrays_to_read(self, archive: Archive, roles: Roles) -> list[str]:
        """Returns the arrays to read, once it is known that they and what becomes of them fit into memory."""
        needed = 0
        for arrays in roles.values():
            header = archive.headers[arrays["images"]]
            labels = archive.headers[arrays["labels"]].shape if "labels" in arrays else ()
            if not header.dtype.hasobject:
                channels_first(arrays["images"], header.shape, labels[0] if labels else None)
            # The array and its copy in bytes; ``subset`` copies these again.
            needed += header.num_bytes + 2 * math.prod(header.shape)
        archive.require_memory(needed)
        return [name for arrays in roles.values() for name in arrays.values()]

    def _labels(self, read: dict[str, npt.NDArray[Any]], roles: Roles) -> tuple[dict[str, Labels], tuple[str, ...]]:
        """Returns the labels of each part, and the names of the classes."""
        parts = [part for part in roles if "labels" in roles[part]]
        if not parts:
            return {}, UNLABELLED
        arrays = [(roles[k]["labels"], read[roles[k]["labels"]], len(read[roles[k]["images"]])) for k in parts]
        numbers, names = classes_of(arrays, self.num_classes)
        return dict(zip(parts, numbers, strict=True)), names

    def _pixels(self, name: str, array: npt.NDArray[Any]) -> tuple[torch.Tensor, list[str]]:
        axes = channels_first(name, array.shape)
        values, added = as_bytes(name, array, _limits(self.value_range))
        ordered = values.transpose(axes)
        if len(axes) == 3:
            ordered = ordered[:, None]
        return torch.from_numpy(np.ascontiguousarray(ordered)), added


def roles_of(archive: Archive) -> tuple[Roles, list[str]]:
    """Returns which arrays are the images and labels of which part, by their names and shapes, and what to say of that.

    ``train`` is always there, ``test`` where the file has a part to hold out (``val`` is that where nothing else is).

    Raises:
        DataError: There are no images, or more than one array may be them.
    """
    names = [name for name in archive.headers if name != _ORIGIN]
    found = _by_place(archive, names) or _by_name(names)
    parts = {part: _chosen(archive, found, part) for part in ("train", "test", "val")}
    roles = {part: arrays for part, arrays in parts.items() if arrays}
    if "train" not in roles:
        raise DataError(
            f"holds {archive}; expected images, and optionally labels, test_images, test_labels (or x_train, y_train,"
            " x_test, y_test, and the like)"
        )
    remarks, unused = [], None
    if "test" not in roles and "val" in roles:
        roles["test"] = roles.pop("val")
        remarks.append(f"{roles['test']['images']} is what is held out")
    elif unused := roles.pop("val", None):
        left_out = f"the validation images were left out ({', '.join(unused.values())})"
        remarks.append(f"{left_out}: those of train are trained on, those of test are held out")
    if "test" in roles and ("labels" in roles["train"]) != ("labels" in roles["test"]):
        raise DataError(f"holds {archive}; give labels of both training and test images, or of neither")
    used = {name: f"{part} {role}" for part, arrays in roles.items() for role, name in arrays.items()}
    usual = {"images", "labels", "test_images", "test_labels"}
    if set(used) - usual:
        remarks.append("read as " + ", ".join(f"{what}: {name}" for name, what in used.items()))
    if others := [
        f"{name} {archive.headers[name]}"
        for name in names
        if name not in {**used, **dict.fromkeys((unused or {}).values())}
    ]:
        remarks.append(f"left out, as neither images nor labels that are known: {', '.join(others)}")
    if "labels" not in roles["train"]:
        if perhaps := [name for name in names if name not in used and _may_be_labels(archive, name, roles["train"])]:
            raise DataError(
                f"holds {archive}; {' and '.join(perhaps)} may be the labels: call what they are 'labels', or leave"
                " it out"
            )
        remarks.append("there are no labels")
    return roles, remarks


def _may_be_labels(archive: Archive, name: str, train: dict[Role, str]) -> bool:
    """Returns whether an array whose name tells nothing has an integer for each image, and is not called an id."""
    header, num = archive.headers[name], archive.headers[train["images"]].shape[:1]
    return header.dtype.kind in "bui" and header.shape in (num, (*num, 1)) and not _COUNTS & set(_words(name))


def _by_place(archive: Archive, names: list[str]) -> dict[tuple[str, Role], list[str]]:
    """Returns the parts and roles of arrays that have no names, ``arr_0`` and so on; nothing if they have."""
    if not all(re.fullmatch(r"arr_\d+", name) for name in names):
        return {}
    images = [name for name in names if len(archive.headers[name].shape) > 2]
    labels = [name for name in names if name not in images]
    parts = ("train", "test")
    if not images or len(images) > 2 or len(labels) not in (0, len(images)) or (len(images) == 2 and not labels):
        return {}
    found: dict[tuple[str, Role], list[str]] = {}
    for part, name in zip(parts, images, strict=False):
        found[part, "images"] = [name]
    for part, name in zip(parts, labels, strict=False):
        found[part, "labels"] = [name]
    return found


def _by_name(names: list[str]) -> dict[tuple[str, Role], list[str]]:
    found: dict[tuple[str, Role], list[str]] = {}
    for name in names:
        if (meaning := _meaning(name)) is not None:
            found.setdefault(meaning, []).append(name)
    return found


def _meaning(name: str) -> tuple[str, Role] | None:
    """Returns part and role of a name such as ``x_train``, ``testLabels`` or ``yval``; None if it tells neither."""
    words = [piece for word in _words(name) for piece in _apart(word)]
    roles = [role for word in words for role, known in _WORDS.items() if word in known]
    parts = [_PARTS[word] for word in words if word in _PARTS]
    if len(roles) + len(parts) < len(words) or len(roles) > 1 or len(parts) > 1 or not words:
        return None
    return (parts[0] if parts else "train", roles[0] if roles else "images")


def _words(name: str) -> list[str]:
    """Returns ``["test", "labels"]`` for ``testLabels``, ``test_labels`` and ``test/labels``."""
    return re.findall(r"[a-z]+|\d+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())


def _apart(word: str) -> list[str]:
    """Returns ``["x", "train"]`` for ``xtrain``, and anything else as it is."""
    known = {known for words in _WORDS.values() for known in words}
    if word not in known and word not in _PARTS:
        for part in _PARTS:
            for pair in ([part, word.removeprefix(part)], [word.removesuffix(part), part]):
                if "".join(pair) == word and (pair[0] in known or pair[1] in known):
                    return pair
    return [word]


def _chosen(archive: Archive, found: dict[tuple[str, Role], list[str]], part: str) -> dict[Role, str]:
    """Returns the arrays of images and labels of a part; nothing if it has no images."""
    images = _only(archive, found.get((part, "images"), []), lambda shape: len(shape) in (3, 4), f"{part} images")
    if images is None:
        if alone := found.get((part, "labels")):
            raise DataError(f"holds {archive}; there are no images to {', '.join(alone)}")
        return {}
    chosen: dict[Role, str] = {"images": images}
    shape = archive.headers[images].shape
    num = shape[0] if shape else 0
    labels = _only(archive, found.get((part, "labels"), []), lambda shape: fits(shape, num), f"{part} labels")
    if labels is not None:
        chosen["labels"] = labels
    return chosen


def _only(archive: Archive, names: list[str], suits: Callable[[tuple[int, ...]], bool], what: str) -> str | None:
    """Returns the one array that is meant: where several are named so, the one that suits."""
    if len(names) > 1:
        suited = [name for name in names if suits(archive.headers[name].shape)]
        if len(suited) != 1:
            raise DataError(
                f"holds {archive}; {' and '.join(names)} may both be the {what}: keep one, or rename the other"
            )
        names = suited
    return names[0] if names else None


def _limits(text: str) -> tuple[float, float] | None:
    """Returns the values of black and white.

    Raises:
        ValueError: Not two numbers, the smaller first.
    """
    if not text:
        return None
    words = text.split(",")
    try:
        low, high = (float(word) for word in words)
    except ValueError:
        raise ValueError("expected LOW,HIGH: two numbers, with a point in each if it is not whole, as 0,1") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError("expected LOW,HIGH: two numbers, the smaller first")
    return low, high
