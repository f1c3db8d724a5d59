"""Standard output and error of a command: whoever reads them may go, and need not know every letter.

A pipe whose reader has gone (``fedgan components | head -1``) is no failure: what is written to it from then on is
lost, and the command goes on to its end with its own exit code. Letters that the stream's encoding lacks are written
as escapes.
"""

import errno
import io
import os
import sys
from contextlib import suppress
from typing import TextIO

_GONE = {errno.EPIPE, errno.EIO, errno.ESHUTDOWN, errno.EINVAL}  # the last as Windows says of a closed pipe


class Patient(io.TextIOBase):
    """A text stream that loses what nobody reads any more. It has no ``buffer``: what goes round it would not.

    Args:
        stream: Where text goes.
        spare: Whether a stream that cannot be written for any reason, as on a full disk, is no failure either.

    Attributes:
        lost: Why nothing is written any more; None while it is.
    """

    def __init__(self, stream: TextIO, *, spare: bool) -> None:
        self._stream, self._spare = stream, spare
        self.lost: OSError | ValueError | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream."""
        return str(getattr(self._stream, "encoding", None) or "utf-8")

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """That of the stream."""
        return getattr(self._stream, "errors", None)

    def write(self, text: str) -> int:
        """Writes text; returns its length, also where it is lost.

        Raises:
            OSError: The stream cannot be written, and that is a failure.
        """
        if self.lost is None:
            try:
                self._stream.write(text)
            except (OSError, ValueError) as error:
                self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Hands on what is written; errors are those of ``write``."""
        if self.lost is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._lose(error)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self.lost is None and self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def _lose(self, error: OSError | ValueError) -> None:
        """Takes a failed write for what it is; a ValueError is of a stream that was closed."""
        if isinstance(error, UnicodeError):
            raise error
        if isinstance(error, OSError) and error.errno not in _GONE and not self._spare:
            raise error
        self.lost = error


def be_patient() -> None:
    """Makes standard output and error patient, also where they are closed from the start."""
    with suppress(OSError):
        while (free := os.open(os.devnull, os.O_RDWR)) <= 2:  # else the next file that is opened is taken for them
            continue
        os.close(free)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  as long as the process
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, Patient(stream, spare=name == "stderr"))


def settle(code: int) -> int:
    """Hands on what standard output and error hold, before the process ends; returns its exit code.

    Args:
        code: That of the command; 1 in place of 0 where its output could not be written, as on a full disk.
    """
    for stream in (sys.stdout, sys.stderr):
        failed: OSError | ValueError | None = None
        try:
            stream.flush()
        except OSError as error:
            failed = error
            if not code:
                sys.stderr.write(f"error: standard output cannot be written: {error.strerror or error}\n")
            code = code or 1
        if failed or (isinstance(stream, Patient) and stream.lost):  # the interpreter flushes what is left once more
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code
