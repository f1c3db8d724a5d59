"""Where a generated example comes from, inside its file or beside it, and how to read it back."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from common.errors import ConfigError, DataError
from common.provenance import KEY, origin, png_text, software, texts, written

__all__ = ["KEY", "MANIFEST", "beside", "exif", "origin", "png_text", "read", "software", "texts", "written"]

MANIFEST = "provenance.json"
_DESCRIPTION, _SOFTWARE = 0x010E, 0x0131  # EXIF's ImageDescription and Software
_LONGEST = 2**20
_MOST_PIXELS = 2**28


def beside(path: Path) -> Path:
    """Returns the file that says where a file of text comes from, which has no place for it itself."""
    return path.with_name(f"{path.name}.{MANIFEST}")


def exif(facts: Mapping[str, Any]) -> bytes:
    """Returns EXIF that makes a JPEG or WebP tell ``facts``."""
    tags = Image.Exif()
    tags[_DESCRIPTION] = f"{KEY} {written(facts)}"
    tags[_SOFTWARE] = software()
    return tags.tobytes()


def read(path: Path) -> dict[str, Any]:
    """Returns what a file says of its origin. It is the file's word: nothing seals it.

    Args:
        path: A PNG, JPEG or WebP; an ``.npz``; a ``.zip`` of images; texts, with what says it ``beside`` them or in
            their folder; or a run's own page of samples, whose first line says it.

    Raises:
        ConfigError: No such file, or none of these.
        DataError: It does not say.
    """
    try:
        manifest = path / MANIFEST if path.is_dir() else beside(path)
        if manifest.is_file():
            text = _from_manifest(manifest)
        elif path.suffix == ".txt" and (line := _first_line(path)).startswith("{"):
            text = line
        elif zipfile.is_zipfile(path):
            text = _from_archive(path)
        else:
            with Image.open(path) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise ConfigError(f"{str(path)!r} has {image.width} x {image.height} pixels: too many")
                text = _from_image(image)
    except UnidentifiedImageError:
        raise ConfigError(
            f"{str(path)!r} is no PNG, JPEG, WebP, .npz or .zip, and has no {MANIFEST} beside it"
        ) from None
    except (OSError, ValueError, SyntaxError, EOFError, RuntimeError, struct.error, zlib.error) as error:
        raise ConfigError(f"{str(path)!r} cannot be read: {error}") from None
    except (zipfile.BadZipFile, Image.DecompressionBombError) as error:
        raise ConfigError(f"{str(path)!r} cannot be read: {error}") from None
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise DataError(
            f"{str(path)!r} does not say where it comes from: only files of fedgan do, and editing removes it"
        )
    return facts


def _from_manifest(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        text = file.read(_LONGEST + 1)
    if len(text) > _LONGEST:
        raise ValueError(f"{path.name} is longer than {_LONGEST} characters")
    return text


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline(_LONGEST)


def _from_image(image: Image.Image) -> str:
    if image.format == "PNG":
        image.load()  # text may come after the pixels
        return str(getattr(image, "text", {}).get(KEY, ""))
    return str(image.getexif().get(_DESCRIPTION, "")).removeprefix(f"{KEY} ")


def _from_archive(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        found = next((name for name in (MANIFEST, f"{KEY}.npy") if name in names), None)
        if found is None:
            return ""
        if archive.getinfo(found).file_size > _LONGEST:
            raise ValueError(f"{found} is longer than {_LONGEST} bytes")
        content = archive.read(found)
    if found == MANIFEST:
        return content.decode()
    return str(np.load(io.BytesIO(content), allow_pickle=False))
