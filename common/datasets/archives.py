"""NumPy archives from anywhere: opened without trust in them, and named for what they are where they are none."""

import math
import os
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from common.errors import DataError

_WAY_OUT = "write its arrays with numpy.savez(FILE, images=..., labels=...)"
_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"\x93NUMPY", "one NumPy array (.npy), not an archive of named ones; write it with numpy.savez(FILE, images=...)"),
    (b"\x1f\x8b", "compressed with gzip; unpack it first"),
    (b"BZh", "compressed with bzip2; unpack it first"),
    (b"\xfd7zXZ", "compressed with xz; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"\x89HDF\r\n\x1a\n", f"an HDF5 file (.h5, or .mat of MATLAB 7.3); read it with h5py, and {_WAY_OUT}"),
    (b"MATLAB", f"a MATLAB file; read it with scipy.io.loadmat, and {_WAY_OUT}"),
    (b"PAR1", f"a Parquet file; {_WAY_OUT}"),
    (b"SQLite format 3", f"an SQLite database; {_WAY_OUT}"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; fetch it with git lfs pull"),
    (b"\x89PNG", "a PNG picture; data.name=image-folder reads folders of pictures"),
    (b"\xff\xd8\xff", "a JPEG picture; data.name=image-folder reads folders of pictures"),
    (b"GIF8", "a GIF picture; data.name=image-folder reads folders of pictures"),
    (b"%PDF", "a PDF document"),
    (b"\0\0\x08", "an IDX file, as MNIST's; data.name=mnist reads a folder of these"),
)
_PICTURES = (".bmp", ".dcm", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Header:
    """What an archive says of one of its arrays."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def num_bytes(self) -> int:
        """Of the array in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        """Returns ``(N, H, W) uint8``, or that there are objects."""
        return f"{self.shape} {'Python objects' if self.dtype.hasobject else self.dtype}"


class Archive:
    """The arrays of an ``.npz`` file. Only headers are read, until an array is asked for; nothing is ever unpickled.

    Args:
        path: The file.

    Attributes:
        path: The file.
        headers: By the name of the array.

    Raises:
        DataError: There is no such file, or it is something else, which the message names.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._members: dict[str, zipfile.ZipInfo] = {}
        self.headers: dict[str, Header] = {}
        _require_file(path)
        try:
            with zipfile.ZipFile(path) as archive:
                arrays = _arrays(path, archive)
                top = os.path.commonpath([f"/{PurePosixPath(info.filename).parent}" for info in arrays])
                for info in arrays:
                    name = os.path.relpath(f"/{info.filename}", top).removesuffix(".npy")
                    if name in self._members:
                        raise DataError(f"{path}: holds two arrays called {name!r}; write it again with one")
                    self._members[name] = info
                    self.headers[name] = self._header(archive, info)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
        except (zipfile.BadZipFile, NotImplementedError):
            raise DataError(f"{path}: is {_named(path)}") from None

    def _header(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Header:
        if info.flag_bits & 1:
            raise DataError(f"{self.path}: is encrypted; unpack it with its password, and {_WAY_OUT}")
        damaged = DataError(f"{self.path}: {info.filename} in it is damaged, or no NumPy array; write the file again")
        try:
            with archive.open(info) as file:
                version = np.lib.format.read_magic(file)
                if version == (3, 0):  # of records with named fields
                    return Header((), np.dtype("V"))
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
                start = file.tell()
        except DataError:
            raise
        except Exception:  # whatever a file makes NumPy say, which may advise to load unsafely
            raise damaged from None
        header = Header(tuple(int(size) for size in shape), dtype)
        if not dtype.hasobject and header.num_bytes != info.file_size - start:
            raise damaged
        return header

    def read(self, name: str) -> npt.NDArray[Any]:
        """Returns an array, whole.

        Raises:
            DataError: It is of Python objects, or damaged.
        """
        if self.headers[name].dtype.hasobject:
            raise DataError(
                f"{self.path}: {name} is an array of Python objects, which is not read, as that could run any code;"
                " write it again as one array of numbers (images of one size, labels as integers)"
            )
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self._members[name]) as file:
                array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
            raise DataError(
                f"{self.path}: {name} is damaged ({type(error).__name__}); write or fetch it again"
            ) from None
        return array

    def require_memory(self, num_bytes: int) -> None:
        """Checks that so many bytes fit into this machine's free memory.

        Raises:
            DataError: They do not.
        """
        free = free_memory()
        if free is not None and num_bytes > free:
            raise DataError(
                f"{self.path}: takes {num_bytes / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free;"
                " take fewer or smaller images, stored as uint8"
            )

    def __str__(self) -> str:
        """Returns names, shapes and types of the arrays."""
        return ", ".join(f"{name} {header}" for name, header in self.headers.items()) or "no arrays"


def free_memory() -> int | None:
    """Returns the bytes that a process may still take on this machine; None where that is not known."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError, AttributeError):
        return None


def kind_of(head: bytes) -> str | None:
    """Returns what a file is that begins so, and the way out, if it is known and no zip archive."""
    for beginning, words in _BEGINNINGS:
        if head.startswith(beginning):
            return words
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        return f"a Python pickle, which is not read, as that could run any code; {_WAY_OUT}"
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it first"
    if head.lstrip()[:9].lower().startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return "a web page (HTML or XML), as a failed download leaves one; fetch the file again"
    if head and not head.strip(b"\0"):
        return "nothing but zeros, as a copy that was cut short leaves them; copy or fetch it again"
    return None


def _named(path: Path) -> str:
    """Returns what a file is that is no whole zip archive."""
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"PK"):
        return "a damaged or incomplete .npz file, as a download that broke off leaves it; write or fetch it again"
    if not (words := kind_of(head)):
        text = all(byte > 31 or byte in b"\t\n\r" for byte in head)
        words = f"{'text' if text else 'something else'}, no .npz file; {_WAY_OUT}"
    return words


def _require_file(path: Path) -> None:
    """Checks that a file is a regular one and not empty."""
    example = "set data.root to an .npz file with 'images'"
    try:
        status = path.stat()
    except FileNotFoundError:
        beside = path.with_name(f"{path.name}.npz")
        hint = f"; there is {beside}" if beside.exists() else ""
        raise DataError(f"there is no file {path}{hint}; {example}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); {example}") from None
    if stat.S_ISDIR(status.st_mode):
        inside = sorted(file.name for file in path.glob("*.npz") if not file.name.startswith("."))
        hint = f"; in it are {', '.join(inside[:10])}{' ...' if inside[10:] else ''}" if inside else ""
        raise DataError(f"{path} is a folder, not an .npz file{hint}; {example}")
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path} is no regular file; {example}")
    if not status.st_size:
        raise DataError(f"{path} is empty (0 bytes); write or fetch it again")


def _arrays(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Returns the entries of a zip archive that are arrays.

    Raises:
        DataError: It has none; says what it has.
    """
    files = [info for info in archive.infolist() if not info.is_dir()]
    own = [info for info in files if not info.filename.startswith("__MACOSX/") and "/." not in f"/{info.filename}"]
    arrays = [info for info in own if info.filename.endswith(".npy")]
    if arrays:
        return arrays
    names = [info.filename for info in own]
    if not names:
        raise DataError(f"{path}: is an empty archive; {_WAY_OUT}")
    if any(PurePosixPath(name).name == "data.pkl" for name in names):
        kind = f"a PyTorch file (torch.save), which is not read, as that could run any code; {_WAY_OUT}"
    elif any(name.lower().endswith(_PICTURES) for name in names):
        kind = "a zip of pictures; unpack it, and take data.name=image-folder with data.root set to the folder"
    elif any(name.endswith((".npz", ".zip")) for name in names):
        kind = "a zip of other archives; unpack it, and set data.root to one of them"
    else:
        kind = f"a zip of other files, no .npz file; {_WAY_OUT}"
    listed = ", ".join(repr(name) for name in names[:3]) + (", ..." if names[3:] else "")
    raise DataError(f"{path}: is {kind} (in it: {listed})")
