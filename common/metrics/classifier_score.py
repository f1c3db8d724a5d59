"""Inception Score, on the probabilities of any classifier."""

import torch
from torch import Tensor

from common.errors import DataError
from common.metrics.base import Course, Metric, Score, Scores, Trouble
from common.metrics.classifier import load_classifier
from common.metrics.comparison import Comparison
from common.metrics.extractors import MnistFeatures, make_extractor


def inception_score(probabilities: Tensor) -> float:
    """Returns exp(E KL(p(y|x) || p(y))) in [1, K]: high when images are clear and classes balanced.

    Salimans et al. 2016 (arXiv:1606.03498), section 4, over the whole set: the customary ten splits bias the value
    and add nothing. It does not see diversity within a class.

    Args:
        probabilities: p(y|x), (N, K), rows that sum to 1; all is computed in float64.

    Raises:
        DataError: No rows, or rows that are not probabilities.
    """
    if probabilities.ndim != 2 or len(probabilities) == 0:
        raise DataError(f"probabilities of shape {tuple(probabilities.shape)} are not (N, K) with N >= 1")
    conditional = probabilities.double()
    if not bool((conditional >= 0).all()) or not bool(((conditional.sum(1) - 1).abs() < 1e-3).all()):
        raise DataError("rows of probabilities must be non-negative and sum to 1; were logits given?")
    marginal = conditional.mean(0)
    divergence = torch.xlogy(conditional, conditional).sum(1) - torch.xlogy(conditional, marginal).sum(1)
    return float(divergence.mean().exp())


def digit_probabilities(images: Tensor, features: Tensor | None = None) -> Tensor:
    """Returns the MNIST classifier's class probabilities, float64 (N, 10), of images uint8 (N, 1, 28, 28).

    Args:
        images: Of digits.
        features: What ``mnist-cnn`` makes of them, where that is known.
    """
    if features is None:
        features = make_extractor(MnistFeatures.name)(images)
    with torch.inference_mode():
        return load_classifier().logits(features).double().softmax(1)


def _compute(compared: Comparison) -> Scores:
    sample = compared.sample
    known = sample.extractor is not None and sample.extractor.name == MnistFeatures.name
    return {"score": inception_score(digit_probabilities(sample.stored, sample.features if known else None))}


_KINDS = 2.0  # from which there were kinds to lose: an untrained generator has between 1 and 2
_FALLEN = 0.6


def _collapsed(course: Course) -> list[Trouble] | None:
    values = [(scores["score"], round) for round, scores in course.rounds if "score" in scores]
    if len(values) < 2:
        return None
    (best, of), (now, round) = max(values), values[-1]
    if best < _KINDS or now >= _FALLEN * best:
        return []
    words = (
        f"The classifier's score fell from {best:.3g} in round {of} to {now:.3g}: the generator makes fewer kinds of "
        "images than before."
    )
    return [Trouble("collapse", True, words, round)]


SCORE = Metric(
    "score",
    (
        Score(
            "score",
            "classifier score",
            "classifier score, 10 is perfect for ten digits",
            "higher",
            decimals=2,
            at_a_glance=True,
        ),
    ),
    needs=frozenset({"digits"}),
    compute=_compute,
    between_rounds=True,
    troubles=_collapsed,
    evidence="the classifier score of two rounds",
)
