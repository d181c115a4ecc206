"""Randomness addressed by path: a draw depends on the seed and on the parameter's path, on nothing else.

Adding a layer, or drawing in another order, leaves every other parameter's draw as it was.
"""

from __future__ import annotations

import hashlib

import numpy as np


def path_seed(seed: int, path: str) -> int:
    """A 63-bit seed for one parameter, from the model's seed and the path by BLAKE2b (RFC 7693).

    n paths share one with a probability of about n^2 / 2^64.
    """
    digest = hashlib.blake2b(f"{seed}\0{path}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def path_words(path: str) -> tuple[int, int]:
    """Two 32-bit words for a path, to be folded into a JAX key: one would collide among 100,000 paths (n^2 / 2^33)."""
    number = path_seed(0, path)
    return number >> 32, number & 0xFFFFFFFF


def generator(seed: int, path: str) -> np.random.Generator:
    """NumPy's generator for one path, seeded by `path_seed`."""
    return np.random.default_rng(path_seed(seed, path))
