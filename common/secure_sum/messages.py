"""What the two halves pass to each other; how it travels is in ``common/wire/masks.py``."""

from collections.abc import Mapping
from dataclasses import dataclass

from common.secure_sum.keys import Session

MASKED = "masked"
"""The only entry of a masked reply: numbers modulo 2^64 (N,), as int64."""


@dataclass(frozen=True)
class KeysRequest:
    """The first step: a client is to make keys for a session."""

    session: Session


@dataclass(frozen=True)
class SharesRequest:
    """The second step: a client is to share its secrets.

    Attributes:
        session: Its id.
        adverts: The keys of all who take part, by partition, as they were written.
    """

    session: bytes
    adverts: Mapping[int, bytes]


@dataclass(frozen=True)
class SharesAnswer:
    """A client's secrets in shares.

    Attributes:
        letters: To each other client, by partition, sealed for it.
        digests: Of the two shares of each client's, its own among them, by partition.
    """

    letters: Mapping[int, bytes]
    digests: Mapping[int, bytes]


@dataclass(frozen=True)
class Letters:
    """The third step, beside the training message of a client.

    Attributes:
        session: Its id.
        letters: To this client, by sender.
        digests: Of the shares in them, and of its own, by sender.
        total: The sum of all clients' weights, at most.
    """

    session: bytes
    letters: Mapping[int, bytes]
    digests: Mapping[int, bytes]
    total: int


@dataclass(frozen=True)
class UnmaskRequest:
    """The last step: a client is to hand out shares, once.

    Attributes:
        session: Its id.
        answered: Whose masked updates have come.
    """

    session: bytes
    answered: tuple[int, ...]


MaskRequest = KeysRequest | SharesRequest | UnmaskRequest
