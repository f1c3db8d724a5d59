"""Masks: streams of random numbers that two clients have in common, or one has for itself."""

import secrets

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

Numbers = NDArray[np.uint64]
"""Numbers modulo 2^64 (N,)."""

SEED_BYTES = 32

_BLOCK = 1 << 17  # numbers of a stream at a time: they and the sum's fit into a core's cache
_NO_NONCE = bytes(16)  # each seed has one stream


def new_secret() -> bytes:
    """Returns 32 random bytes of the operating system's: a seed, or the secret half of an X25519 key."""
    return secrets.token_bytes(SEED_BYTES)


def public_half(secret: bytes) -> bytes:
    """Returns the public half (32 bytes) of an X25519 key."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def common_secret(own: bytes, other: bytes, purpose: bytes) -> bytes:
    """Returns 32 bytes that only the holders of two X25519 keys can compute, others for every purpose.

    Args:
        own: The secret half of one key.
        other: The public half of the other.
        purpose: What they are for.

    Raises:
        ValueError: ``other`` is one of the few keys with which any secret would be the same.
    """
    agreed = X25519PrivateKey.from_private_bytes(own).exchange(X25519PublicKey.from_public_bytes(other))
    return HKDF(SHA256(), length=SEED_BYTES, salt=None, info=purpose).derive(agreed)


def add_stream(numbers: Numbers, seed: bytes, *, subtract: bool = False) -> None:
    """Adds a seed's stream (ChaCha20) to numbers, in place; or subtracts it, which undoes that."""
    cipher = Cipher(algorithms.ChaCha20(seed, _NO_NONCE), mode=None).encryptor()
    zeros, buffer = bytes(8 * min(_BLOCK, len(numbers))), bytearray(8 * min(_BLOCK, len(numbers)))
    for start in range(0, len(numbers), _BLOCK):
        block = numbers[start : start + _BLOCK]
        cipher.update_into(memoryview(zeros)[: 8 * len(block)], buffer)
        stream = np.frombuffer(buffer, "<u8", count=len(block))
        (np.subtract if subtract else np.add)(block, stream, out=block)
