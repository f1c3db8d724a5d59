"""Random numbers: one root seed, and a named, independent stream for every use.

Every draw in fedgan comes from a generator made here, never from a global one, so that what a client draws depends
on the seed, its partition and the round alone: not on the process it runs in, nor on the clients that ran before it.
"""

import hashlib

import numpy as np
import torch


def derive_seed(root: int, *scope: str | int) -> int:
    """Returns a seed in [0, 2^63) for one use of randomness.

    Args:
        root: The run's seed.
        scope: What the stream is for, e.g. ``("client", 3, "round", 7, "latents")``. Different scopes, and the same
            scope under different roots, give independent streams (SHA-256).
    """
    text = repr((int(root), *scope)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1


def torch_generator(root: int, *scope: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Returns a torch generator on ``device``, seeded with ``derive_seed(root, *scope)``."""
    return torch.Generator(device).manual_seed(derive_seed(root, *scope))


def numpy_generator(root: int, *scope: str | int) -> np.random.Generator:
    """Returns a NumPy generator seeded with ``derive_seed(root, *scope)``."""
    return np.random.default_rng(derive_seed(root, *scope))
