"""From the numbers that an archive holds as images to bytes, (N, C, H, W)."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from common.errors import DataError

_CHUNK = 256  # images converted at once: bounds the float64 copy
_OUTSIDE = 1e-3  # of a range: what rounding may exceed it by


def channels_first(name: str, shape: tuple[int, ...], num_labels: int | None = None) -> tuple[int, ...]:
    """Returns the axes of an array of images in the order N, C, H, W; three of them where there is no C.

    Args:
        name: Of the array, for messages.
        shape: (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3.
        num_labels: Of how many images there are labels; None if unknown.

    Raises:
        DataError: Another shape; says what may be meant, and how to write it.
    """
    if not math.prod(shape):
        raise DataError(f"{name} is {shape}: there are no images in it")
    if len(shape) == 3:
        if num_labels is None and shape[2] in (1, 3):
            raise DataError(
                f"{name} is {shape}: one image of {shape[0]} x {shape[1]} pixels, it seems, and a data set has several:"
                f" numpy.stack([...]) of them is (N, {shape[0]}, {shape[1]}, {shape[2]})"
            )
        return (0, 1, 2)
    if len(shape) == 4 and shape[3] in (1, 3):
        return (0, 3, 1, 2)
    if len(shape) == 4 and shape[1] in (1, 3):
        return (0, 1, 2, 3)
    hint = ""
    if len(shape) == 4 and num_labels is not None and shape[0] != num_labels == shape[3]:
        hint = f"; it counts images last: write {name}.transpose(3, 0, 1, 2)"
    elif len(shape) == 4 and 4 in (shape[1], shape[3]):
        hint = "; a fourth channel is transparency: put the images on a background, and leave it out"
    elif len(shape) == 2:
        side = next(
            (s for c in (1, 3) if shape[1] % c == 0 and (s := math.isqrt(shape[1] // c)) ** 2 * c == shape[1]), 0
        )
        if side > 1:
            colour = ", 3" if side * side * 3 == shape[1] else ""
            order = f"{name}.reshape(-1{colour}, {side}, {side})"
            hint = f"; if each row is an image of {side} x {side} pixels, write {order}"
    raise DataError(f"{name} is {shape}; expected (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3{hint}")


def as_bytes(
    name: str, array: npt.NDArray[Any], limits: tuple[float, float] | None
) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """Returns the values as uint8 in the same shape, and sentences on what was done to them.

    Args:
        name: Of the array, for messages.
        array: bool (False is black, True is white), whole numbers in [0, 255], or with ``limits`` numbers of any kind.
        limits: The values that become 0 and 255; those between go linearly, rounded, and those outside are cut off.
            None: they are bytes already.

    Raises:
        DataError: Values whose range must be declared, that are not finite, or no numbers.
    """
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name} is {array.dtype}; expected uint8")
    if array.dtype.kind == "b" and limits is None:
        return array.astype(np.uint8) * np.uint8(255), [f"{name} is bool: False became 0, True 255"]
    if array.dtype.kind == "f":
        _require_finite(name, array)
    low, high = float(array.min()), float(array.max())
    if limits is None:
        if array.dtype.kind == "f" or low < 0 or high > 255 or high == 1:
            raise DataError(_undeclared(name, array.dtype, low, high))
        if array.dtype == np.uint8:
            return array, []
        return array.astype(np.uint8), [f"{name} is {array.dtype} in [{low:g}, {high:g}], which was taken as bytes"]
    first, last = limits
    scaled = np.empty(array.shape, np.uint8)
    outside, slack = 0, _OUTSIDE * (last - first)
    for start in range(0, len(array), _CHUNK):
        chunk = array[start : start + _CHUNK].astype(np.float64)
        outside += int(((chunk < first - slack) | (chunk > last + slack)).sum())
        scaled[start : start + _CHUNK] = np.rint(((chunk - first) * (255 / (last - first))).clip(0, 255))
    remarks = [f"{name} was scaled from [{first:g}, {last:g}] to bytes"]
    if outside:
        remarks.append(
            f"{outside / array.size:.2%} of the values of {name}, which go from {low:g} to {high:g}, lie outside"
            f" range={first:g},{last:g} and were cut off there"
        )
    return scaled, remarks


def _require_finite(name: str, array: npt.NDArray[Any]) -> None:
    bad = [
        start + int(row)
        for start in range(0, len(array), _CHUNK)
        for row in np.flatnonzero(
            ~np.isfinite(array[start : start + _CHUNK]).reshape(min(_CHUNK, len(array) - start), -1).all(axis=1)
        )
    ]
    if bad:
        raise DataError(
            f"{name} has NaN or infinity in {len(bad):,} of {len(array):,} images, the first of them image {bad[0]};"
            " leave these out or mend them"
        )


def _undeclared(name: str, dtype: np.dtype[Any], low: float, high: float) -> str:
    if low >= 0 and high <= 1:
        declared = "0,1"
    elif low >= -1 and high <= 1:
        declared = "-1,1"
    elif low >= 0 and high <= 255:
        declared = "0,255"
    elif low >= 0 and dtype.kind in "iu" and (bits := int(high).bit_length()) <= 16:
        declared = f"0,{(1 << bits) - 1}"
    else:
        declared = f"{low:g},{high:g}"
    return (
        f"{name} is {dtype} with values in [{low:g}, {high:g}]; expected uint8, or say which values are black and"
        f' white: data.name="npz range={declared}"'
    )
