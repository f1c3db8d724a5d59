"""Files that are whole or not there: what server and clients keep on disk so that a dead process loses nothing."""

import codecs
import errno
import hashlib
import json
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file
from torch import Tensor

from common.errors import CheckpointError, ConfigError
from common.tree import Tree, digest, without_shared_storage

_LONGEST_TOML = 2**22  # bytes
_SCRAP = re.compile(r"\..+\.\d+\.tmp")


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a whole file or nothing: a reader sees the old content or the new one, also after a power cut."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a place to write to; what is there when the block ends takes the name ``path``, safely on disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        synchronise(temporary)
        temporary.replace(path)
        if os.name == "posix":  # elsewhere a folder cannot be synchronised
            synchronise(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def synchronise(path: Path) -> None:
    """Returns when what was written to a file or a folder is safely on disk."""
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Adds a line of JSON to a file, in place of a last one that was torn, and returns when it is safely on disk."""
    new = not path.exists()
    with path.open("ab") as stream:
        stream.truncate(len(b"".join(row + b"\n" for row in whole_lines(path))))
        stream.write(json.dumps(line).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    if new and os.name == "posix":
        synchronise(path.parent)


def whole_lines(path: Path) -> list[bytes]:
    """Returns the lines of a file of ``append_line``'s, without a torn last one; none where there is no file.

    Raises:
        OSError: It cannot be read.
    """
    try:
        with open_file(path) as stream:
            return stream.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return []


def open_file(path: Path) -> IO[bytes]:
    """Opens a file to read. A pipe or a device in its place is refused: it would be waited for, without end.

    Raises:
        OSError: It cannot be read, or is no file.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no file", str(path))
    return os.fdopen(descriptor, "rb")


def read_file(path: Path, most: int) -> bytes:
    """Returns the content of a file, of ``most`` bytes at most; see ``open_file``.

    Raises:
        OSError: It cannot be read, is no file, or is longer.
    """
    with open_file(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is longer than {most:,} bytes", str(path))
    return content


def remove_scraps(*folders: Path) -> None:
    """Removes what ``write_atomically`` left in these folders in a process that was killed."""
    for folder in folders:
        for path in folder.glob(".*.tmp"):
            if _SCRAP.fullmatch(path.name):
                path.unlink(missing_ok=True)


def read_toml(path: Path) -> dict[str, Any]:
    """Returns the tables of a TOML file. A byte-order mark of UTF-8 is passed over.

    Raises:
        ConfigError: No such file, not text in UTF-8, or not TOML; names it, and the line.
    """
    try:
        content = read_file(path, _LONGEST_TOML)
    except OSError as error:
        raise ConfigError(f"{str(path)!r} cannot be read: {error.strerror}") from None
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content:
        raise ConfigError(
            f"{str(path)!r} is not text in UTF-8 (UTF-16, perhaps, as PowerShell's > writes it): save it as UTF-8"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        line = content.split(b"\n")[number - 1].decode("latin-1").strip()
        raise ConfigError(f"{str(path)!r}, line {number}, is not UTF-8: save the file as UTF-8: {line!r}") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        line = text.split("\n")[int(found[1]) - 1].strip() if found else ""
        raise ConfigError(f"{str(path)!r} is not TOML: {error}" + (f": {line!r}" if line else "")) from None
    except (RecursionError, ValueError) as error:  # of thousands of brackets, or of digits
        raise ConfigError(f"{str(path)!r} is not TOML: {error}") from None


def save_sealed(path: Path, kind: str, version: int, header: Mapping[str, str], tensors: Tree) -> None:
    """Writes tensors and a header as one safetensors file, atomically, with a SHA-256 over both.

    Args:
        path: The file.
        kind: What it is, e.g. ``"fedgan-checkpoint"``; a reader refuses another kind.
        version: Of its layout; a reader refuses another one.
        header: Text by key; not ``format``, ``version`` or ``sha256``.
        tensors: By name.
    """
    sealed = {**header, "format": kind, "version": str(version)}
    sealed["sha256"] = _seal(sealed, tensors)
    with replacing(path) as temporary:
        try:
            whole = without_shared_storage({key: value.contiguous() for key, value in tensors.items()})
            if _is_utf8(temporary):
                save_file(whole, temporary, metadata=sealed)
            else:
                temporary.write_bytes(save(whole, metadata=sealed))
        except SafetensorError as error:
            raise _as_os_error(error, temporary) from error


def load_sealed(path: Path, kind: str, version: int) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Returns header and tensors of a file written by ``save_sealed``.

    Raises:
        CheckpointError: A file that is missing, torn, flipped, of another kind or of another version; names it.
    """
    what = kind.replace("-", " ")
    try:
        with (
            open_file(path) as opened,
            safe_open(path if _is_utf8(path) else f"/dev/fd/{opened.fileno()}", framework="pt") as file,
        ):
            header = dict(file.metadata() or {})
            if header.get("format") != kind:
                raise CheckpointError(f"{path} is not a {what}")
            if header.get("version") != str(version):
                raise CheckpointError(f"{path} has version {header.get('version')}, this fedgan reads {version}")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not a whole {what}: {error}") from None
    if header.pop("sha256", None) != _seal(header, tensors):
        raise CheckpointError(f"{path} is damaged: it does not have the recorded SHA-256")
    return header, tensors


def _is_utf8(path: Path) -> bool:
    """Returns whether a path can be given to safetensors."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_os_error(error: SafetensorError, path: Path) -> OSError:
    """Returns what the system said when a write failed; safetensors keeps only the text."""
    match = re.search(r"os error (\d+)", str(error))
    code = int(match[1]) if match else errno.EIO
    return OSError(code, os.strerror(code), str(path))


def _seal(header: Mapping[str, str], tensors: Tree) -> str:
    """Returns a SHA-256 over header and tensors."""
    text = json.dumps(dict(header), sort_keys=True) + digest(tensors)
    return hashlib.sha256(text.encode()).hexdigest()
