"""Mild label skew: every client lacks a few classes."""

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field, field_validator

from common.errors import ConfigError
from common.partitioners.base import Indices, Partitioner


class DropClasses(Partitioner):
    """Each client drops a random number of classes, and a class's images are shared evenly among those who keep it.

    How many classes a client drops, which, and who gets which images are chance. A class that all would drop is given
    back to one client, so that every image is used; nobody drops all classes, but keeps one at least.
    """

    source: ClassVar[str] = "HuSCF-GAN, Tawfilis et al., TMLR 2026: numbers of dropped classes and their probabilities"
    needs_labels: ClassVar[bool] = True

    drops: str = Field(
        "0:0.33,2:0.40,3:0.13,4:0.13",
        description="NUMBER:WEIGHT of dropped classes, by comma; probabilities are the weights over their sum",
    )

    @field_validator("drops")
    @classmethod
    def _read(cls, text: str) -> str:
        _table(text)
        return text

    def split(self, labels: Indices, num_clients: int, generator: np.random.Generator) -> Sequence[Indices]:
        """Returns the images of each client; see ``Partitioner.split``."""
        present, class_sizes = np.unique(labels, return_counts=True)
        numbers, probabilities = _table(self.drops)
        dropped = np.minimum(generator.choice(numbers, num_clients, p=probabilities), len(present) - 1)
        keeps = np.ones((num_clients, len(present)), dtype=bool)
        for client, number in enumerate(dropped):
            keeps[client, generator.choice(len(present), number, replace=False)] = False
        parts: list[list[Indices]] = [[] for _ in range(num_clients)]
        for column, (label, size) in enumerate(zip(present, class_sizes, strict=True)):
            holders = np.flatnonzero(keeps[:, column])
            if not len(holders):
                holders = generator.integers(num_clients, size=1)
            if len(holders) > size:
                raise ConfigError(
                    f"partition='drop-classes': {len(holders)} clients would share {size} examples of class {label};"
                    " take fewer clients"
                )
            images = generator.permutation(np.flatnonzero(labels == label))
            # Whoever comes first gets one of the images that are left over: chance says who that is.
            shares = np.array_split(images, len(holders))
            for client, share in zip(generator.permutation(holders), shares, strict=True):
                parts[client].append(share)
        return [np.concatenate(part) for part in parts]


def _table(text: str) -> tuple[Indices, np.ndarray]:
    """Returns the numbers of dropped classes and their probabilities.

    Raises:
        ValueError: Another form, a number twice or negative, or weights that are no weights.
    """
    numbers, weights = [], []
    for word in text.split(","):
        number, colon, weight = word.partition(":")
        if not colon or not number.strip().isdecimal():
            raise ValueError(f"{word!r} is not NUMBER:WEIGHT, e.g. 0:0.5,2:0.5")
        numbers.append(int(number))
        try:
            weights.append(float(weight))
        except ValueError:
            raise ValueError(f"{weight!r} in {word!r} is not a number") from None
    if len(set(numbers)) < len(numbers):
        raise ValueError("a number of dropped classes is given twice")
    total = math.fsum(weights)
    if not (all(weight >= 0 for weight in weights) and 0 < total < math.inf):
        raise ValueError("weights are not negative, and one at least is positive")
    return np.array(numbers, dtype=np.int64), np.array(weights) / total
