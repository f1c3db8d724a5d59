"""Errors that fedgan raises on purpose; anything else that escapes is a defect.

Each message names the offending value and the way out. The command line prints the message in one line
and exits with the class's ``exit_code``; ``fedgan submit --retries`` hands no run in again whose error is ``lasting``.
"""

import errno
from typing import ClassVar


class FedGANError(Exception):
    """Base of every error raised on purpose: a run that failed."""

    exit_code: ClassVar[int] = 1
    lasting: ClassVar[bool] = False
    """Whether the same run would fail again, unless a person changes something first."""


class ConfigError(FedGANError):
    """A configuration or a command that cannot mean anything; nothing was started."""

    exit_code: ClassVar[int] = 2
    lasting: ClassVar[bool] = True


class BusyError(ConfigError):
    """A run directory in which another process is at work; it may end by itself."""

    lasting: ClassVar[bool] = False


class DataError(FedGANError):
    """A data set that is missing, unreadable or of another kind than declared: the user's to mend, as a setting is."""

    exit_code: ClassVar[int] = 2
    lasting: ClassVar[bool] = True


class FetchError(DataError):
    """A data set that could not be downloaded, though nothing that the user said is wrong."""

    exit_code: ClassVar[int] = 1
    lasting: ClassVar[bool] = False


class ProtocolError(FedGANError):
    """A message that this version does not understand, or a peer that runs other code."""

    lasting: ClassVar[bool] = True


class DivergenceError(FedGANError):
    """A loss or an update that is no longer finite."""

    lasting: ClassVar[bool] = True


class PrivacyError(FedGANError):
    """A release of private examples that no promise pays for."""

    lasting: ClassVar[bool] = True


class FederationError(FedGANError):
    """Too few clients, or too few usable replies, to go on."""


class MismatchError(FederationError):
    """Clients that are there, and do not make one federation: their data, their code or their places do not fit."""

    lasting: ClassVar[bool] = True


class OutputError(FedGANError):
    """A run directory that can no longer be written; what was saved before is whole."""

    lasting: ClassVar[bool] = True


class CheckpointError(FedGANError):
    """A checkpoint that is torn or foreign."""

    lasting: ClassVar[bool] = True


class OtherRunError(CheckpointError):
    """A run that was to go on as another one: another configuration, other data."""

    exit_code: ClassVar[int] = 2


class TerminatedError(SystemExit):
    """A signal that ends the process, as ``kill`` and a system that shuts down send it; no defect, and no failure."""

    def __init__(self, signal_name: str, exit_code: int) -> None:
        super().__init__(exit_code)
        self._signal_name = signal_name

    def __str__(self) -> str:
        """Returns which signal it was."""
        return f"ended by {self._signal_name}"


def in_words(error: BaseException) -> str:
    """Returns why something ended, in one line: the same words for the command line, the log and the journal."""
    text = " ".join(str(error).split())
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, SystemExit) and not isinstance(error, TerminatedError):
        return "ended from outside"
    if is_out_of_memory(error):
        return (
            f"out of memory ({text or type(error).__name__}): fewer clients at a time (--workers), a smaller "
            "local.batch-size or a smaller model need less"
        )
    if isinstance(error, FedGANError | OSError | TerminatedError):  # a full disk is no defect either
        return text or type(error).__name__
    return f"{type(error).__name__}: {text} (a defect; --debug shows where)"


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether memory was asked for that is not there: by Python, the system, or torch on whatever device."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    says_so = isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NO_MEMORY)
    return says_so or isinstance(error, MemoryError)


_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")  # torch has no type for the CPU's


def lasts(error: BaseException) -> bool:
    """Returns whether what an error says lasts until a person changes something."""
    return isinstance(error, FedGANError) and error.lasting


def lasts_by_name(kind: str) -> bool:
    """Returns whether an error of this class lasts; it was raised elsewhere, and only its class's name came here."""
    found = globals().get(kind)
    return isinstance(found, type) and issubclass(found, FedGANError) and found.lasting
