"""Secrets in shares: any ``threshold`` of them give the secret, and fewer say nothing of it (Shamir 1979)."""

import functools
import secrets
from collections.abc import Mapping, Sequence

PRIME = 2**256 + 297
"""The field's size, the smallest prime above 2^256: a secret of 32 bytes is one of its numbers."""

SHARE_BYTES = 33
"""Of a number of the field, big endian."""


def split(secret: int, threshold: int, holders: Sequence[int]) -> dict[int, int]:
    """Returns a share for each holder; random numbers are the operating system's.

    Args:
        secret: In [0, 2^256).
        threshold: Shares that it takes to know it; 1 or more, and at most the holders.
        holders: Different numbers >= 0, as partitions.

    Raises:
        ValueError: More shares are needed than there are.
    """
    if not 1 <= threshold <= len(set(holders)):
        raise ValueError(f"{threshold} of {len(set(holders))} shares cannot be needed")
    return shares_of([secret, *(secrets.randbelow(PRIME) for _ in range(threshold - 1))], holders)


def shares_of(coefficients: Sequence[int], holders: Sequence[int]) -> dict[int, int]:
    """Returns the values of a polynomial, its constant term first, at x = holder + 1 for each holder."""
    return {
        k: functools.reduce(lambda value, c: (value * (k + 1) + c) % PRIME, reversed(coefficients), 0) for k in holders
    }


def join(shares: Mapping[int, int]) -> int:
    """Returns the secret that enough shares, by holder, are of; a number that means nothing of fewer."""
    factors = _factors(tuple(sorted(shares)))
    return sum(share * factors[k] for k, share in shares.items()) % PRIME


@functools.lru_cache(maxsize=8)  # all secrets of a round are joined from the same holders' shares
def _factors(holders: tuple[int, ...]) -> dict[int, int]:
    """Returns Lagrange's factors at 0, by holder."""
    found = {}
    for k in holders:
        above, below = 1, 1
        for other in holders:
            if other != k:
                above = above * (other + 1) % PRIME
                below = below * (other - k) % PRIME
        found[k] = above * pow(below, -1, PRIME) % PRIME
    return found
