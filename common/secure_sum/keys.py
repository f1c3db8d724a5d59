"""Keys of one session, signed by the long-lived key of their site."""

import hashlib
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from common.errors import FederationError, ProtocolError
from common.secure_sum.masks import new_secret

SESSION_BYTES = 16
_KEY_BYTES, _SIGNATURE_BYTES = 32, 64


@dataclass(frozen=True)
class Session:
    """One try of one round.

    Attributes:
        id: 16 random bytes of the server's; a round that is repeated has others.
        run: Identifies the run.
        round: From 1.
    """

    id: bytes
    run: str
    round: int

    def bound(self, purpose: str, *partitions: int) -> bytes:
        """Returns bytes that no other purpose, pair of clients or session has."""
        return repr(("fedgan secure-mean", purpose, self.run, self.round, self.id.hex(), *partitions)).encode()


@dataclass(frozen=True)
class Identity:
    """The long-lived key of a site (Ed25519).

    Attributes:
        secret: Its secret half, 32 bytes.
    """

    secret: bytes

    @classmethod
    def new(cls) -> Self:
        """Returns one that nobody else has."""
        return cls(new_secret())

    @property
    def public(self) -> bytes:
        """Its public half, 32 bytes."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, content: bytes) -> bytes:
        """Returns a signature (64 bytes)."""
        return self._key.sign(content)

    @property
    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.secret)


@dataclass(frozen=True)
class Advert:
    """What a client makes known of its keys of a session.

    Attributes:
        letters: Public half of the X25519 key that letters to it are sealed for.
        masks: Likewise of that which masks are made of.
        seed_digest: SHA-256 of its own seed.
        identity: Public half of its site's long-lived key.
        signature: By that, over all of it, the session and the partition.
    """

    letters: bytes
    masks: bytes
    seed_digest: bytes
    identity: bytes
    signature: bytes = b""

    def signed(self, session: Session, partition: int, identity: Identity) -> "Advert":
        """Returns it with the signature."""
        signature = identity.sign(self._content(session, partition))
        return Advert(self.letters, self.masks, self.seed_digest, self.identity, signature)

    def written(self) -> bytes:
        """Returns it as bytes, which ``read`` takes."""
        return self.letters + self.masks + self.seed_digest + self.identity + self.signature

    @classmethod
    def read(cls, content: bytes) -> Self:
        """Returns what ``written`` was called of.

        Raises:
            ProtocolError: Another length.
        """
        if len(content) != 4 * _KEY_BYTES + _SIGNATURE_BYTES:
            raise ProtocolError(f"its keys have {len(content)} bytes, not {4 * _KEY_BYTES + _SIGNATURE_BYTES}")
        size = _KEY_BYTES
        letters, masks, seed_digest, identity = (content[start : start + size] for start in range(0, 4 * size, size))
        return cls(letters, masks, seed_digest, identity, content[4 * size :])

    def check(self, session: Session, partition: int) -> None:
        """Checks the signature.

        Raises:
            FederationError: It is not of this session and client: keys of an earlier round, or somebody else's.
        """
        try:
            Ed25519PublicKey.from_public_bytes(self.identity).verify(self.signature, self._content(session, partition))
        except (InvalidSignature, ValueError):
            raise FederationError(
                f"the keys of partition {partition} are not signed for round {session.round}: they are those of an "
                "earlier round, or somebody else's"
            ) from None

    def _content(self, session: Session, partition: int) -> bytes:
        return session.bound("keys", partition) + self.letters + self.masks + self.seed_digest + self.identity


def fingerprint(public: bytes) -> str:
    """Returns what people compare a site's long-lived key by: 32 hexadecimal digits, in groups of four."""
    digits = hashlib.sha256(public).hexdigest()[:32]
    return " ".join(digits[start : start + 4] for start in range(0, 32, 4))
