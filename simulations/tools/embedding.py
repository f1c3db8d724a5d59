"""Data sets inside the package: bytes as lines of text, and the command that writes such a file and reads it back."""

import argparse
import base64
import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_LINE = 1024  # characters of base64 a line, so that editors and diffs can cope


def text_lines(data: bytes, **compression: Any) -> list[str]:
    """Returns bytes as base64 of xz, in lines.

    Args:
        data: The bytes. xz gets no check of its own: the SHA-256 of the file does that.
        compression: ``preset`` or ``filters`` of ``lzma.compress``.
    """
    packed = lzma.compress(data, format=lzma.FORMAT_XZ, check=lzma.CHECK_NONE, **compression)
    text = base64.b64encode(packed).decode("ascii")
    return [text[start : start + _LINE] for start in range(0, len(text), _LINE)]


def parse_arguments(arguments: Sequence[str] | None, what: str, package: str, default: Path) -> tuple[Path, Path]:
    """Returns the folder of the unpacked package, and the file to write.

    Args:
        arguments: Of the command line; None: those of this process.
        what: Which data are embedded.
        package: Where they come from.
        default: The file to write unless another is named.
    """
    parser = argparse.ArgumentParser(description=f"write the embedded {what} from the {package.rpartition(' ')[0]}")
    parser.add_argument("package", type=Path, help=f"the unpacked {package}")
    parser.add_argument("--out", type=Path, default=default, help="the file to write (default: %(default)s)")
    options = parser.parse_args(arguments)
    return options.package, options.out
