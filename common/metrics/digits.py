"""Whether images are handwritten digits, as far as their labels tell: only then do digits' features mean much."""

from collections.abc import Sequence

import torch
from torch import Tensor

from common.metrics.classifier import NUM_CLASSES, load_classifier
from common.metrics.supervised import to_float

ENOUGH = 0.9
"""The share of images that must be read right: of MNIST's own test images it is 0.99."""

_MOST = 1000  # images that are looked at


def share_read(images: Tensor, labels: Tensor, class_names: Sequence[str]) -> float | None:
    """Returns the share in [0, 1] of images that the MNIST classifier reads as the digit that their class is.

    A class is the digit whose numeral is its name. Of ten classes of other names (``three``, ``digit_3``), each is the
    digit that the classifier reads most often in it; of those of one digit, one counts.

    Args:
        images: uint8 (N, 1, 28, 28), N >= 1; at most 1000 of them are looked at, at equal distances.
        labels: Their classes, int64 (N,).
        class_names: What each label means.

    Returns:
        None where the names do not say which digits the classes are, and there are not ten of them.
    """
    numerals = all(name.isdecimal() and int(name) < NUM_CLASSES for name in class_names)
    if not numerals and len(class_names) != NUM_CLASSES:
        return None
    rows = torch.arange(min(len(images), _MOST)) * len(images) // min(len(images), _MOST)
    with torch.inference_mode():
        read = load_classifier()(to_float(images[rows])).argmax(1)
    counts = torch.zeros(len(class_names), NUM_CLASSES)
    counts.index_put_((labels[rows], read), torch.ones(len(rows)), accumulate=True)
    digits = [int(name) for name in class_names] if numerals else counts.argmax(1).tolist()
    right: dict[int, float] = {}
    for digit, reads in zip(digits, counts.tolist(), strict=True):
        right[digit] = max(right.get(digit, 0.0), reads[digit])
    return sum(right.values()) / len(rows)
