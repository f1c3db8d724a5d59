"""From the labels that an archive holds to classes: integers from 0, each with a name."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from common.datasets.base import MOST_CLASSES, RELABEL, listed
from common.errors import DataError

Labels = npt.NDArray[np.int64]

_LONGEST = 200  # characters of a class's name
_FEW = 50  # classes that need not have two images each


def classes_of(
    arrays: Sequence[tuple[str, npt.NDArray[Any], int]], declared: int
) -> tuple[list[Labels], tuple[str, ...]]:
    """Returns labels, (N,) int64 for each array, and the name of each class.

    Taken are whole numbers of any type, (N,), (N, 1) or (1, N), one-hot rows (N, K), and text, whose classes are its
    words in alphabetical order.

    Args:
        arrays: Of each part its name, what it holds, and its number of images N.
        declared: How many classes there are; 0: the largest label + 1.

    Raises:
        DataError: Something else, or labels that are ids or marks rather than classes.
    """
    flat = [_flat(name, array, num) for name, array, num in arrays]
    names = " and ".join(name for name, _, _ in arrays)
    if all(labels.dtype.kind in "US" for labels in flat):
        words, codes = np.unique(np.concatenate(flat), return_inverse=True)
        class_names = tuple(word.decode(errors="replace") if isinstance(word, bytes) else str(word) for word in words)
        if odd := [word for word in class_names if not word.strip() or not word.isprintable() or len(word) > _LONGEST]:
            raise DataError(
                f"{names}: {odd[0][:_LONGEST]!r} is no name of a class; leave such images out, or {RELABEL}"
            )
        if not declared:
            _refuse_ids(names, codes)
        elif declared != len(class_names):
            raise DataError(f"{names}: {len(class_names)} classes ({listed(class_names)}), not num-classes={declared}")
        ends = np.cumsum([len(labels) for labels in flat])[:-1]
        return [part.astype(np.int64) for part in np.split(codes, ends)], class_names
    numbers = [_whole(name, labels) for (name, _, _), labels in zip(arrays, flat, strict=True)]
    together = np.concatenate(numbers)
    widths = [array.shape[1] for _, array, num in arrays if _is_one_hot(array, num)]
    count = _count(names, together, declared, max(widths, default=0))
    return numbers, tuple(str(label) for label in range(count))


def fits(shape: tuple[int, ...], num_images: int) -> bool:
    """Returns whether an array of this shape can be the labels of so many images."""
    return (len(shape) >= 1 and max(shape, default=0) == num_images == int(np.prod(shape))) or (
        len(shape) == 2 and shape[0] == num_images
    )


def _flat(name: str, array: npt.NDArray[Any], num: int) -> npt.NDArray[Any]:
    if _is_one_hot(array, num):
        return _from_one_hot(name, array)
    if array.size != num or max(array.shape, default=0) != num or array.dtype.kind not in "biufUS":
        raise DataError(
            f"{name} is {array.shape} {array.dtype}; expected integers, one for each of {num} images, or one-hot rows"
        )
    flat: npt.NDArray[Any] = array.reshape(-1)
    return flat


def _is_one_hot(array: npt.NDArray[Any], num: int) -> bool:
    return array.ndim == 2 and array.shape[0] == num and array.shape[1] > 1 and num > 1


def _from_one_hot(name: str, array: npt.NDArray[Any]) -> Labels:
    if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all() or (array.sum(axis=1) != 1).any():
        raise DataError(
            f"{name} is {array.shape} {array.dtype} and its rows are not one-hot (one 1, else 0); an image has one"
            " class here: write one integer for each image"
        )
    labels: Labels = array.argmax(axis=1).astype(np.int64)
    return labels


def _whole(name: str, labels: npt.NDArray[Any]) -> Labels:
    """Returns labels of any type of number as int64."""
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all() or (labels != np.floor(labels)).any():
            raise DataError(
                f"{name} is {labels.dtype} with values that are not whole, as"
                f" {labels[~(labels == np.floor(labels)) | ~np.isfinite(labels)][0]:g}; expected integers"
            )
    elif labels.dtype.kind not in "biu":
        raise DataError(f"{name} is {labels.dtype}; expected integers")
    if len(labels) and not -(2**53) < float(labels.min()) <= float(labels.max()) < 2**53:
        raise DataError(
            f"{name}: the values go from {labels.min()} to {labels.max()}: these are ids, not classes; {RELABEL}"
        )
    return labels.astype(np.int64)


def _count(names: str, labels: Labels, declared: int, width: int) -> int:
    """Returns how many classes there are: as declared, the width of one-hot rows, or the largest label + 1."""
    present, counts = np.unique(labels, return_counts=True)
    if not len(present):
        return max(declared, width, 1)
    low, high = int(present[0]), int(present[-1])
    if low < 0:
        raise DataError(
            f"{names}: the values are in [{low}, {high}], and classes count from 0; leave out the"
            f" {int(counts[present < 0].sum()):,} images with a negative label if that marks those without one, or"
            f" {RELABEL}"
        )
    if declared:
        if high >= declared:
            raise DataError(
                f"{names}: the values are in [{low}, {high}], not in [0, {declared - 1}] of num-classes={declared}"
            )
        return declared
    _refuse_ids(names, labels)
    if width or 2 * len(present) >= high + 1:
        return max(high + 1, width)
    meant = ""
    if high < MOST_CLASSES:
        meant = f'; if they are the classes that you mean, set data.name="npz num-classes={high + 1}"'
    raise DataError(
        f"{names}: the values are {listed(present.tolist())}: {len(present):,} distinct ones, but the largest makes"
        f" {high + 1:,} classes, most of them without an image; leave out images whose label is a mark and no class, or"
        f" {RELABEL}{meant}"
    )


def _refuse_ids(names: str, labels: Labels) -> None:
    distinct = len(np.unique(labels))
    if distinct > max(_FEW, len(labels) / 2):
        raise DataError(
            f"{names}: {distinct:,} distinct labels for {len(labels):,} images: are these ids and not classes? Leave"
            ' them out to train without labels; if they are classes, set num-classes (data.name="npz num-classes=...")'
        )
