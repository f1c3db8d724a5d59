"""Errors that fedgan raises on purpose; anything else that escapes is a defect.

Each message names the offending value and the way out. The command line prints the message in one line
and exits with the class's ``exit_code``.
"""

from typing import ClassVar


class FedGANError(Exception):
    """Base of every error raised on purpose: a run that failed."""

    exit_code: ClassVar[int] = 1


class ConfigError(FedGANError):
    """A configuration or a command that cannot mean anything; nothing was started."""

    exit_code: ClassVar[int] = 2


class DataError(FedGANError):
    """A data set that is missing, unreadable or of another kind than declared."""


class ProtocolError(FedGANError):
    """A message that this version does not understand, or a peer that runs other code."""


class DivergenceError(FedGANError):
    """A loss or an update that is no longer finite."""


class FederationError(FedGANError):
    """Too few clients, or too few usable replies, to go on."""


class OutputError(FedGANError):
    """A run directory that can no longer be written; what was saved before is whole."""


class CheckpointError(FedGANError):
    """A checkpoint that is torn or foreign."""


class OtherRunError(CheckpointError):
    """A run that was asked to go on as another one: another configuration, other data."""

    exit_code: ClassVar[int] = 2
