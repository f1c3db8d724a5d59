"""From generated images to the bytes of an answer: post-processing, encoding, provenance."""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from common.errors import ConfigError
from simulations.runs import provenance
from simulations.serve.generate_requests import GenerateRequest, Grid

Pixels = NDArray[np.uint8]

MEDIA = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "npz": "application/x-npz",
    "zip": "application/zip",
}
ENDINGS = {"png": "png", "jpeg": "jpg", "webp": "webp", "npz": "npz", "zip": "zip"}
_METHODS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_LONGEST_SIDE = 16_000  # webp's is 16383
_MOST_LISTED = 2000
_EPOCH = (1980, 1, 1, 0, 0, 0)  # a zip's first date: the hour would change the bytes
_MARK = ("#######", "#.....#", "#.###.#", "#.#...#", "#.#.#.#", "#.###.#", "#.....#", "#######")


@dataclass(frozen=True)
class Made:
    """What was made for a request.

    Attributes:
        images: uint8 (N, C, S, S).
        labels: Of each, -1 where what it shows is not known.
        places: Which draw of the seed each is.
        facts: Where they come from, without what differs from image to image.
    """

    images: Tensor
    labels: Sequence[int]
    places: Sequence[int]
    facts: Mapping[str, Any]

    def facts_of(self, index: int) -> dict[str, Any]:
        """Returns where one image comes from."""
        return {**self.facts, "label": self.labels[index], "index": self.places[index]}

    def facts_of_all(self) -> dict[str, Any]:
        """Returns where a picture of all images comes from, with the labels of the first ones (EXIF holds 64 kB)."""
        facts = {**self.facts, "number": len(self.labels)}
        return facts | {"labels": list(self.labels[:_MOST_LISTED]), "indices": list(self.places[:_MOST_LISTED])}


def encode(made: Made, request: GenerateRequest) -> bytes:
    """Returns the answer to a request: the same bytes for the same images.

    Raises:
        ConfigError: A crop outside the image, or a picture that is too large.
    """
    pictures = _pictures(made.images, request)
    if request.format == "npz":
        return _npz(pictures, made)
    if request.format == "zip":
        return _zip(pictures, made, request)
    if len(pictures) == 1 and request.grid is None:
        return _encoded(pictures[0], request.format, request.quality, made.facts_of(0))
    return _encoded(_tiled(pictures, request.grid or Grid()), request.format, request.quality, made.facts_of_all())


def pixels_of(request: GenerateRequest, side: int) -> int:
    """Returns an upper bound for the pixels of an answer, without making it."""
    width = height = side
    if request.crop:
        width, height = request.crop.width, request.crop.height
    if request.resize:
        width, height = request.resize.width, request.resize.height
    if request.rotate and request.rotate.degrees % 180:
        width = height = width + height
    if request.pad:
        width += request.pad.left + request.pad.right
        height += request.pad.top + request.pad.bottom
    grid = request.grid or Grid()
    columns = min(grid.columns, request.count)
    cells = -(-request.count // columns) * columns
    return cells * (width + 2 * grid.padding) * (height + 2 * grid.padding)


def _pictures(images: Tensor, request: GenerateRequest) -> Pixels:
    """Returns the images as they are to be shown, uint8 (N, height, width) if grey, else (N, height, width, 3)."""
    pixels = images[:, 0].numpy() if images.shape[1] == 1 else images.permute(0, 2, 3, 1).contiguous().numpy()
    steps = (request.crop, request.resize, request.rotate, request.pad, request.mark)
    if request.colour == "as-is" and not any(steps):
        return pixels
    return np.stack([np.asarray(_processed(Image.fromarray(picture), request)) for picture in pixels])


def _processed(picture: Image.Image, request: GenerateRequest) -> Image.Image:
    if crop := request.crop:
        right, bottom = crop.left + crop.width, crop.top + crop.height
        if right > picture.width or bottom > picture.height:
            raise ConfigError(f"crop ends at {right} x {bottom}, the image at {picture.width} x {picture.height}")
        picture = picture.crop((crop.left, crop.top, right, bottom))
    if resize := request.resize:
        picture = picture.resize((resize.width, resize.height), _METHODS[resize.method])
    if rotate := request.rotate:
        fill = rotate.fill if picture.mode == "L" else (rotate.fill,) * 3
        picture = picture.rotate(rotate.degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=fill)
    if pad := request.pad:
        fill = pad.fill if picture.mode == "L" else (pad.fill,) * 3
        picture = ImageOps.expand(picture, (pad.left, pad.top, pad.right, pad.bottom), fill)
    if request.colour != "as-is":
        picture = picture.convert("L" if request.colour == "grey" else "RGB")
    if request.mark:
        picture = _marked(picture)
    if max(picture.size) > _LONGEST_SIDE:
        raise ConfigError(
            f"an image would have {picture.width} x {picture.height} pixels: at most {_LONGEST_SIDE} a side"
        )
    return picture


def _marked(picture: Image.Image) -> Image.Image:
    """Returns the picture with a framed G in its lower right corner, a quarter of its shorter side high."""
    rows = np.array([[255 if dot == "#" else 0 for dot in row] for row in _MARK], dtype=np.uint8)
    scale = max(1, min(picture.size) // 4 // len(_MARK))
    mark = Image.fromarray(rows.repeat(scale, 0).repeat(scale, 1)).convert(picture.mode)
    picture = picture.copy()
    picture.paste(mark, (max(0, picture.width - mark.width), max(0, picture.height - mark.height)))
    return picture


def _tiled(pictures: Pixels, grid: Grid) -> Pixels:
    num, height, width, *bands = pictures.shape
    columns = min(grid.columns, num)
    rows, tall, wide = -(-num // columns), height + grid.padding, width + grid.padding
    size = (rows * tall + grid.padding, columns * wide + grid.padding)
    if max(size) > _LONGEST_SIDE:
        raise ConfigError(
            f"the grid would have {size[1]} x {size[0]} pixels, at most {_LONGEST_SIDE} a side: take a zip"
        )
    cells = np.full((rows * columns, tall, wide, *bands), 255, dtype=np.uint8)
    cells[:num, :height, :width] = pictures
    whole = np.full((*size, *bands), 255, dtype=np.uint8)
    lines = cells.reshape(rows, columns, tall, wide, *bands).swapaxes(1, 2)
    whole[grid.padding :, grid.padding :] = lines.reshape(rows * tall, columns * wide, *bands)
    return whole


def _encoded(pixels: Pixels, format: str, quality: int, facts: Mapping[str, Any]) -> bytes:
    if format == "png":
        return _png(pixels, facts)
    buffer, picture = io.BytesIO(), Image.fromarray(pixels)
    if format == "jpeg":
        picture.save(buffer, "jpeg", quality=quality, exif=provenance.exif(facts))
    else:  # the fastest method, in less than half the time for 3 % more bytes
        lossless = quality == 100
        picture.save(buffer, "webp", quality=quality, lossless=lossless, method=0, exif=provenance.exif(facts))
    return buffer.getvalue()


def _png(pixels: Pixels, facts: Mapping[str, Any]) -> bytes:
    """Returns a PNG with ``facts`` in its text, packed by run lengths and without filters.

    Pillow takes five times as long, more than the generator takes to make the images, and lets no other thread work
    meanwhile. The file is a fifth larger, where it is of digits.
    """
    height, width = pixels.shape[:2]
    rows = np.zeros((height, 1 + pixels[0].size), dtype=np.uint8)  # each begins with its filter: 0, none
    rows[:, 1:] = pixels.reshape(height, -1)
    packer = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    colour = 0 if pixels.ndim == 2 else 2
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)),
        *((b"tEXt", f"{key}\0{text}".encode("latin-1")) for key, text in provenance.texts(facts)),
        (b"IDAT", packer.compress(rows.data) + packer.flush()),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))
        for name, data in chunks
    )


def _npz(pictures: Pixels, made: Made) -> bytes:
    buffer = io.BytesIO()
    np.savez(  # uncompressed, as that takes longer than making the images
        buffer,
        images=pictures,
        labels=np.array(made.labels, dtype=np.int64),
        fedgan=np.array(provenance.written(made.facts_of_all())),  # as provenance.KEY says
    )
    return buffer.getvalue()


def _zip(pictures: Pixels, made: Made, request: GenerateRequest) -> bytes:
    buffer = io.BytesIO()
    ending = ENDINGS[request.entries]
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # pictures are compressed already
        for index, (picture, label) in enumerate(zip(pictures, made.labels, strict=True)):
            content = _encoded(picture, request.entries, request.quality, made.facts_of(index))
            archive.writestr(zipfile.ZipInfo(f"{index:05d}-label-{label}.{ending}", _EPOCH), content)
        text = provenance.written(made.facts_of_all())
        archive.writestr(zipfile.ZipInfo(provenance.MANIFEST, _EPOCH), text)
    return buffer.getvalue()
