"""Modes: how many of the 1,000 combinations of three digits a generator makes, and how evenly."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from common.errors import DataError
from common.metrics.base import Course, Metric, Names, Score, Scores, Trouble
from common.metrics.classifier import NUM_CLASSES, load_classifier
from common.metrics.comparison import Comparison
from common.metrics.extractors import ChannelFeatures, make_extractor

NUM_MODES = NUM_CLASSES**ChannelFeatures.channels


def combinations(digits: Tensor) -> Tensor:
    """Returns the number in [0, 1000) of each combination, int64 (N,): 3, 0 and 7 are 307.

    Args:
        digits: int64 (N, 3), each in [0, 10).
    """
    places = NUM_CLASSES ** torch.arange(digits.shape[1] - 1, -1, -1)
    return (digits * places).sum(1)


def modes(found: Tensor, num_modes: int = NUM_MODES) -> tuple[int, float]:
    """Returns how many modes occur, and the Kullback-Leibler divergence of their shares to uniform, in nats, >= 0.

    Metz et al. 2017 (arXiv:1611.02163), section 3.3.1. The divergence is sum p ln(p K) of the shares p among the N
    samples: 0 if all are equal, ln K if one mode is all there is. It is about (K - 1) / 2N too high: 0.02 of 26,000
    samples that are uniform, 0.25 of 2,000. And 2,000 such samples hold about 865 modes, 26,000 all.

    Args:
        found: The mode of each sample, int64 (N,), N >= 1, in [0, num_modes).
        num_modes: How many there are, K.

    Raises:
        DataError: No samples, or modes that there are not.
    """
    if not len(found) or not 0 <= int(found.min()) <= int(found.max()) < num_modes:
        raise DataError(f"{len(found)} samples are not one or more in [0, {num_modes})")
    shares = torch.bincount(found, minlength=num_modes).double() / len(found)
    return int((shares > 0).sum()), max(float(torch.xlogy(shares, shares * num_modes).sum()), 0.0)


def read_digits(images: Tensor, features: Tensor | None = None) -> Tensor:
    """Returns the digit that the MNIST classifier reads in each channel, int64 (N, 3), of images uint8 (N, 3, 28, 28).

    Args:
        images: Three digits each.
        features: What ``mnist-cnn-channels`` makes of them, where that is known.
    """
    if features is None:
        features = make_extractor(ChannelFeatures.name)(images)
    with torch.inference_mode():
        return load_classifier().logits(features.view(len(features), ChannelFeatures.channels, -1)).argmax(2)


def _compute(compared: Comparison) -> Scores:
    sample = compared.sample
    known = sample.extractor is not None and sample.extractor.name == ChannelFeatures.name
    count, divergence = modes(combinations(read_digits(sample.stored, sample.features if known else None)))
    return {"modes": float(count), "modes-kl": divergence}


_FALLEN = 0.6
_MANY = 100  # modes from which there were some to lose


def _collapsed(course: Course) -> list[Trouble] | None:
    values = [(scores["modes"], round) for round, scores in course.rounds if "modes" in scores]
    if len(values) < 2:
        return None
    (best, of), (now, round) = max(values), values[-1]
    if best < _MANY or now >= _FALLEN * best:
        return []
    words = f"The generator made {best:.0f} combinations of digits in round {of}, and makes {now:.0f} now."
    return [Trouble("collapse", True, words, round)]


def _missing(scores: Mapping[str, Any], names: Names) -> list[str]:
    count = scores.get("modes")
    if count is None or count >= NUM_MODES:
        return []
    return [f"It makes {count:.0f} of {NUM_MODES:,} combinations of three digits, and none of the others."]


MODES = Metric(
    "modes",
    (
        Score(
            "modes",
            "modes",
            "combinations of three digits that it makes, of 1,000",
            "higher",
            decimals=0,
            benchmark="panel",
            at_a_glance=True,
        ),
        Score(
            "modes-kl",
            "modes, KL to uniform",
            "how unevenly it makes the combinations, in nats, 0 is evenly",
            "lower",
        ),
    ),
    needs=frozenset({"stacked-digits"}),
    compute=_compute,
    between_rounds=True,
    usual_images=26_000,
    troubles=_collapsed,
    evidence="the modes of two rounds",
    weak_spots=_missing,
)
