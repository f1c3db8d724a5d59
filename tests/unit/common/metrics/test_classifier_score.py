"""The Inception Score: its two ends, SciPy's value, and its refusal of logits."""

import numpy as np
import pytest
import scipy.stats
import torch

from common.errors import DataError
from common.metrics.classifier_score import inception_score
from common.seeding import torch_generator


def test_of_sure_and_balanced_predictions_is_the_number_of_classes() -> None:
    assert inception_score(torch.eye(10).repeat(7, 1)) == pytest.approx(10.0, rel=1e-12)


def test_of_one_class_or_of_no_idea_is_one() -> None:
    assert inception_score(torch.eye(10)[[4, 4, 4]]) == pytest.approx(1.0, rel=1e-12)
    assert inception_score(torch.full((5, 10), 0.1)) == pytest.approx(1.0, rel=1e-12)


def test_of_two_classes_out_of_three_unevenly_is_what_one_computes_by_hand() -> None:
    # E KL = entropy of (3/4, 1/4) = 0.75 ln(4/3) + 0.25 ln 4, for predictions that are sure
    assert inception_score(torch.eye(3)[[0, 0, 0, 1]]) == pytest.approx((4 / 3) ** 0.75 * 4**0.25, rel=1e-12)


def test_equals_scipys_mean_divergence_from_the_marginal() -> None:
    probabilities = (torch.randn(200, 10, generator=torch_generator(0, "score")) * 3).softmax(1)
    rows = probabilities.double().numpy()
    expected = np.exp(np.mean([scipy.stats.entropy(row, rows.mean(0)) for row in rows]))
    assert 1.5 < inception_score(probabilities) == pytest.approx(float(expected), rel=1e-6)


def test_refuses_what_are_not_probabilities() -> None:
    logits = torch.randn(20, 10, generator=torch_generator(0, "score"))
    for rows in (logits, logits.abs(), logits / logits.sum(1, keepdim=True)):
        with pytest.raises(DataError, match="were logits given"):
            inception_score(rows)
    with pytest.raises(DataError, match="N >= 1"):
        inception_score(torch.zeros(0, 10))
