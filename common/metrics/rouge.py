"""ROUGE-L: how much of a text stands, in order, in the text that really follows."""

from collections.abc import Sequence
from statistics import fmean

import torch
from torch import Tensor

from common.errors import DataError
from common.examples import TextSpec
from common.examples.text import END, PAD
from common.generation import Mixture, draw_noise
from common.metrics.base import Metric, Score, Scores
from common.metrics.comparison import Comparison
from common.metrics.words import words
from common.models.tokens import TextSampler

MOST_PROMPTS = 1000
"""Held-out rows that are gone on from, evenly picked."""

_BATCH = 500


def longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    """Returns the length of the longest common subsequence of two texts' words, which need not be adjacent.

    Hyyrö 2004: a bit for each word of the first, and a few operations on whole numbers for each of the second.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    every = (1 << len(first)) - 1
    open_places = every
    for word in second:
        matched = open_places & places.get(word, 0)
        open_places = ((open_places + matched) | (open_places - matched)) & every
    return len(first) - open_places.bit_count()


def rouge_l(sample: Sequence[str], reference: Sequence[str]) -> float:
    """Returns the F-measure, in [0, 1], of the longest common subsequence of a sample and its reference.

    Lin 2004 (ACL, W04-1013), section 3, with precision and recall weighted equally, as the package ``rouge-score`` has
    it: 2 P R / (P + R), of P = common / words of the sample, R = common / words of the reference. 0 where nothing is
    common.

    Args:
        sample: Its words.
        reference: Its words.
    """
    common = longest_common(sample, reference)
    return 2 * common / (len(sample) + len(reference)) if common else 0.0


def continuations(sampler: TextSampler | Mixture, stored: Tensor, labels: Tensor, seed: int) -> list[str]:
    """Returns how a model goes on from the first ``overlap`` tokens of rows (N, length), up to the ends of the rows.

    Args:
        sampler: Of text.
        stored: Rows, int32, as they are stored.
        labels: (N,), int64.
        seed: Of the noise.
    """
    spec, device = sampler.spec, sampler.device
    assert isinstance(spec, TextSpec)
    noise = draw_noise(len(stored), (spec.length - spec.overlap,), seed)
    prompts = spec.to_input(stored)[:, : spec.overlap]
    with torch.inference_mode():
        parts = zip(*(torch.split(part.to(device), _BATCH) for part in (noise, labels, prompts)), strict=True)
        made = [sampler(*part) for part in parts]
    return [spec.decode(row) for row in spec.to_stored(torch.cat(made)).cpu()]


def _compute(compared: Comparison) -> Scores:
    sampler, real = compared.sampler, compared.real
    if not isinstance(sampler, TextSampler | Mixture):
        raise DataError(f"a {type(sampler).__name__} goes on from no prompts")
    spec = sampler.spec
    assert isinstance(spec, TextSpec)
    first = spec.overlap
    whole = torch.nonzero((real.stored != PAD).all(1) & (real.stored[:, first] != END)).squeeze(1)
    if not len(whole):
        raise DataError("no row of held-out text is full")
    rows = whole[torch.arange(min(len(whole), MOST_PROMPTS)) * len(whole) // min(len(whole), MOST_PROMPTS)]
    stored = real.stored[rows]
    made = continuations(sampler, stored, real.labels[rows], compared.seed)
    really = [spec.decode(row[first:]) for row in stored]
    return {"rouge-l": fmean(rouge_l(words(one), words(other)) for one, other in zip(made, really, strict=True))}


ROUGE = Metric(
    "rouge-l",
    (
        Score(
            "rouge-l",
            "ROUGE-L",
            "how much, in words and order, what the model writes after held-out text is like what really follows",
            "higher",
        ),
    ),
    kinds=frozenset({"text"}),
    compute=_compute,
    sample="none",
)
