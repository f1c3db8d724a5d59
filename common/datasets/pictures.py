"""Image files of any kind that Pillow reads, as bytes of grey or colour: upright, opaque, and 8 bits deep."""

import functools
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import ExifTags, Image, UnidentifiedImageError

from common.datasets.remarks import Remarks, printable
from common.errors import DataError

TURNED = "{n} [picture was|pictures were] turned or mirrored as [its|their] EXIF orientation says"
OPAQUE = "{n} [picture has|pictures have] transparent parts, which were laid on background={colour}"
FIRST = "{n} [file has|files have] several frames or pages, of which the first was taken"
SCALED = "{n} [picture|pictures] of more than 8 bits a channel [was|were] scaled by window={window}"
CLIPPED = "{n} of the scaled [pictures has|pictures have] values outside the window, which became black or white"
SHALLOW = "{n} [picture|pictures] of 8 bits a channel [was|were] taken as [it is|they are], without the window"
UPPER = "{n} colour or transparent [picture has|pictures have] 16 bits a channel, of which the upper 8 were taken"
HUGE = "{n} [picture has|pictures have] more than {limit} pixels"
WARNED = "{n} [file was|files were] read although something is wrong with [it|them]"

_NO_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}  # stubs, films, or what another program draws
_DIRECT = ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr")  # what Pillow takes to grey without a detour
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF = {"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"}  # where a picture may say how it is turned
_LOOKS_LIKE = {
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"<?xml": "an XML file",
    b"version https://git-lfs": "a pointer of Git LFS, whose file `git lfs pull` fetches",
    b"%pdf": "a PDF",
    b"pk\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip file",
}

logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it says of a file is in the error or the remark

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """How pictures become bytes.

    Attributes:
        mode: ``L`` for one channel of grey, ``RGB`` for three of colour.
        background: The colour below transparent parts, as it is called and as (red, green, blue) in [0, 255].
        window: How values of more than 8 bits become 8: ``LOW,HIGH``, ``full`` (the range of the file's type), ``each``
            (the range of the values in each picture); empty: such pictures are refused.
    """

    mode: Literal["L", "RGB"]
    background: tuple[str, tuple[int, int, int]]
    window: str

    def decode(self, path: Path, remarks: Remarks) -> torch.Tensor:
        """Returns one file as a (C, H, W) uint8 tensor.

        Raises:
            DataError: It is damaged or no picture, or deeper than 8 bits without a window; names it.
        """
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                # Given a path, Pillow maps the file into memory, and then turns a TIFF the wrong way.
                with path.open("rb") as file, Image.open(file, formats=_formats()) as picture:
                    pixels = self._pixels(picture, path, remarks)
            except DataError:
                raise
            except Exception as error:  # Pillow's readers raise whatever they trip over
                raise DataError(f"{printable(path)}: {_trouble(path, error)}; remove or replace it") from error
        for warning in caught:
            if issubclass(warning.category, Image.DecompressionBombWarning):
                remarks.add(HUGE.replace("{limit}", f"{Image.MAX_IMAGE_PIXELS:,}"), path)
            else:
                remarks.add(WARNED, f"{remarks.below(path)}: {' '.join(str(warning.message).split())}")
        return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1).contiguous()

    def _pixels(self, picture: Image.Image, path: Path, remarks: Remarks) -> npt.NDArray[np.uint8]:
        """Returns (H, W) or (H, W, 3) bytes."""
        if _animated(picture):
            remarks.add(FIRST, path)
        raw = _raw_mode(picture)
        if picture.format == "TIFF" and _orientation(picture) in _TURNS:  # Pillow turns these itself
            remarks.add(TURNED, path)
        _load(picture)
        turn = _orientation(picture) if _EXIF & picture.info.keys() and picture.format != "TIFF" else 1
        if turn in _TURNS:
            remarks.add(TURNED, path)
        if picture.mode.startswith(("I", "F")):
            picture = self._shallow(picture, raw, path, remarks)
        elif ";16" in raw:
            remarks.add(UPPER, path)
        elif self.window:
            remarks.add(SHALLOW, path)
        if picture.has_transparency_data:
            picture = self._opaque(picture, path, remarks)
        if picture.mode not in _DIRECT:
            picture = picture.convert("RGB")
        picture = picture.convert(self.mode)
        return np.array(picture.transpose(_TURNS[turn]) if turn in _TURNS else picture)

    def _opaque(self, picture: Image.Image, path: Path, remarks: Remarks) -> Image.Image:
        name, colour = self.background
        whole = picture.convert("RGBA")
        if whole.getchannel("A").getextrema()[0] == 255:
            return whole
        remarks.add(OPAQUE.replace("{colour}", name), path)
        return Image.alpha_composite(Image.new("RGBA", whole.size, (*colour, 255)), whole)

    def _shallow(self, picture: Image.Image, raw: str, path: Path, remarks: Remarks) -> Image.Image:
        """Returns a picture of integers or floats as one of bytes."""
        values = np.array(picture, np.float64)
        if picture.format == "PPM" and picture.mode == "I":  # Pillow has scaled it to 16 bits
            values = np.round(values * _largest_grey(path) / 65535)
        low, high = self._range(values, picture, raw, path)
        remarks.add(SCALED.replace("{window}", self.window), path)
        inside = (values >= low) & (values <= high)  # not so of what is no number
        if not inside.all():
            remarks.add(CLIPPED, path)
        scaled = np.nan_to_num((values - low) / (high - low) * 255, nan=0)
        shallow = Image.fromarray(scaled.round().clip(0, 255).astype(np.uint8))
        clear = picture.info.get("transparency")
        if isinstance(clear, int):
            shallow.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
        return shallow

    def _range(self, values: Values, picture: Image.Image, raw: str, path: Path) -> tuple[float, float]:
        finite = values[np.isfinite(values)]
        least, most = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        found = f"{printable(path)}: has more than 8 bits a channel, with values from {least:g} to {most:g}"
        if not self.window:
            raise DataError(
                f"{found}; convert it to 8 bits, or say how they become 8 bits: data.name='image-folder"
                " window=LOW,HIGH' (e.g. window=0,4095), window=full (the range of the type) or window=each (of each"
                " picture's own values)"
            )
        if self.window == "each":
            return least, most if most > least else least + 1
        if self.window == "full":
            if picture.format == "PPM" and picture.mode == "I":
                return 0, _largest_grey(path)
            if picture.mode.startswith("I;16"):
                return 0, 65535
            if raw.startswith("I;16"):  # with a sign
                return -32768, 32767
            raise DataError(f"{found} of 32 bits, whose full range says nothing; give window=LOW,HIGH or window=each")
        low, high = window(self.window)
        return low, high


def window(text: str) -> tuple[float, float]:
    """Returns the two numbers of ``LOW,HIGH``.

    Raises:
        ValueError: It is not two finite numbers, the smaller first.
    """
    try:
        low, high = (float(number) for number in text.split(","))
    except ValueError:
        raise ValueError("give LOW,HIGH (two numbers, e.g. 0,4095), full, or each") from None
    if not (np.isfinite([low, high]).all() and low < high):
        raise ValueError("of LOW,HIGH the first must be the smaller number, and both finite")
    return low, high


@functools.cache
def endings() -> frozenset[str]:
    """Returns the endings of the image files that can be read, in lower case, with the dot."""
    readable = {*_formats(), "MPO"}  # the latter is read as a JPEG
    return frozenset(ending for ending, kind in Image.registered_extensions().items() if kind in readable)


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.preinit()  # so that the usual formats are tried first
    Image.init()
    return tuple(kind for kind in Image.ID if kind not in _NO_PICTURES)


def _load(picture: Image.Image) -> None:
    """Decodes a picture; what libtiff writes on stderr by itself, of damage that it reads over, becomes a warning."""
    if not any(tile[0] == "libtiff" for tile in getattr(picture, "tile", [])):
        picture.load()
        return
    with tempfile.TemporaryFile() as aside:
        with _stderr_into(aside.fileno()):
            picture.load()
        aside.seek(0)
        if said := aside.read().decode(errors="backslashreplace").strip():
            warnings.warn(said.partition("\n")[0].rstrip("."), stacklevel=2)


@contextmanager
def _stderr_into(file: int) -> Iterator[None]:
    """Sends what any code of this process, Python or not, writes on stderr to a file while the block runs."""
    try:
        stderr = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    os.dup2(file, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _animated(picture: Image.Image) -> bool:
    if picture.format == "PSD":  # layers, of which Pillow takes all
        return False
    try:
        return bool(getattr(picture, "is_animated", False))
    except Exception:  # a later frame is damaged; the first may not be
        return True


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception as error:  # the picture may be whole all the same; if not, reading it says so
        warnings.warn(f"EXIF data that cannot be read ({type(error).__name__})", stacklevel=2)
        return 1


def _raw_mode(picture: Image.Image) -> str:
    """Returns how the file holds the pixels, in Pillow's words, such as ``I;16S``; empty where it does not say."""
    tiles: list[Any] = getattr(picture, "tile", [])
    arguments = tiles[0][3] if tiles else ""
    if isinstance(arguments, tuple):
        arguments = arguments[0] if arguments else ""
    return arguments if isinstance(arguments, str) else ""


def _largest_grey(path: Path) -> int:
    """Returns the number that a PGM file calls white."""
    words: list[bytes] = []
    with path.open("rb") as file:
        for line in file:
            words += line.partition(b"#")[0].split()
            if len(words) >= 4:
                return int(words[3])
    return 65535


def _trouble(path: Path, error: Exception) -> str:
    """Returns what is wrong with a file that could not be read."""
    try:
        with path.open("rb") as file:
            head = file.read(32)
    except OSError as denied:
        return f"cannot be read ({denied.strerror})"
    for start, what in _LOOKS_LIKE.items():
        if head.lstrip().lower().startswith(start):
            return f"is no image but {what}"
    if isinstance(error, Image.DecompressionBombError):
        return f"has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels, which is more than is read"
    why = {
        UnidentifiedImageError: "in none of the formats that are read",
        MemoryError: "too large for the memory",
    }
    text = why.get(type(error)) or " ".join(str(error).split()) or type(error).__name__
    return f"not a readable image ({text})" if head else "is empty (0 bytes)"
