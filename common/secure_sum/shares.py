"""The two shares that one client gives another: of its mask key, and of its seed."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from common.errors import FederationError
from common.secure_sum import shamir
from common.secure_sum.keys import Session
from common.secure_sum.masks import common_secret

_NO_NONCE = bytes(12)  # each letter has a key of its own
_DIGEST_BYTES = 16


@dataclass(frozen=True)
class Shares:
    """One client's shares of another's secrets, 33 bytes each.

    Attributes:
        mask_key: Of the secret half of the key that masks are made of.
        seed: Of its own seed.
    """

    mask_key: bytes
    seed: bytes

    @classmethod
    def of(cls, mask_key: int, seed: int) -> Self:
        """Returns two numbers of Shamir's field as shares."""
        return cls(mask_key.to_bytes(shamir.SHARE_BYTES, "big"), seed.to_bytes(shamir.SHARE_BYTES, "big"))

    def digests(self, session: Session, owner: int, holder: int) -> bytes:
        """Returns what each share can be recognised by and not be found out from, 16 bytes each."""
        bound = session.bound("share", owner, holder)
        return digest(bound, b"mask-key", self.mask_key) + digest(bound, b"seed", self.seed)

    def sealed(self, session: Session, owner: int, holder: int, secret: bytes, public: bytes) -> bytes:
        """Returns the letter to their holder, sealed with its owner's secret and the holder's public key."""
        purpose = session.bound("letter", owner, holder)
        key = common_secret(secret, public, purpose)
        return ChaCha20Poly1305(key).encrypt(_NO_NONCE, self.mask_key + self.seed, purpose)

    @classmethod
    def opened(cls, letter: bytes, session: Session, owner: int, holder: int, secret: bytes, public: bytes) -> Self:
        """Returns what ``sealed`` was called of, with the holder's secret key and the owner's public one.

        Raises:
            FederationError: It was not sealed by that client for this one in this session.
        """
        purpose = session.bound("letter", owner, holder)
        try:
            plain = ChaCha20Poly1305(common_secret(secret, public, purpose)).decrypt(_NO_NONCE, letter, purpose)
        except (InvalidTag, ValueError):
            plain = b""
        if len(plain) != 2 * shamir.SHARE_BYTES:
            raise FederationError(f"the letter of partition {owner} to partition {holder} cannot be opened")
        return cls(plain[: shamir.SHARE_BYTES], plain[shamir.SHARE_BYTES :])


def digest(bound: bytes, kind: bytes, share: bytes) -> bytes:
    """Returns 16 bytes by which a share can be recognised."""
    return hashlib.sha256(b"\0".join([bound, kind, share])).digest()[:_DIGEST_BYTES]


def is_share(share: bytes, digests: bytes, session: Session, owner: int, holder: int, *, of_seed: bool) -> bool:
    """Returns whether a share is the one that its owner gave its holder, by what the owner said of it."""
    expected = digests[_DIGEST_BYTES:] if of_seed else digests[:_DIGEST_BYTES]
    return digest(session.bound("share", owner, holder), b"seed" if of_seed else b"mask-key", share) == expected


def join(shares: Mapping[int, bytes]) -> bytes | None:
    """Returns the 32 bytes that shares, by holder, are of; None if they are of none."""
    secret = shamir.join({k: int.from_bytes(share, "big") for k, share in shares.items()})
    return secret.to_bytes(32, "big") if secret < 2**256 else None
