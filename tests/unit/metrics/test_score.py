"""The Inception Score: its two ends, torch-fidelity's value, and its refusal of logits."""

import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric

from common.errors import DataError
from common.metrics.score import inception_score
from common.seeding import torch_generator


def test_of_sure_and_balanced_predictions_is_the_number_of_classes() -> None:
    assert inception_score(torch.eye(10).repeat(7, 1)) == pytest.approx(10.0, rel=1e-12)


def test_of_one_class_or_of_no_idea_is_one() -> None:
    assert inception_score(torch.eye(10)[[4, 4, 4]]) == pytest.approx(1.0, rel=1e-12)
    assert inception_score(torch.full((5, 10), 0.1)) == pytest.approx(1.0, rel=1e-12)


def test_of_two_classes_out_of_three_unevenly_is_what_one_computes_by_hand() -> None:
    # E KL = entropy of (3/4, 1/4) = 0.75 ln(4/3) + 0.25 ln 4, for predictions that are sure
    assert inception_score(torch.eye(3)[[0, 0, 0, 1]]) == pytest.approx((4 / 3) ** 0.75 * 4**0.25, rel=1e-12)


def test_equals_torch_fidelity_with_one_split() -> None:
    logits = torch.randn(200, 10, generator=torch_generator(0, "score")) * 3
    expected = isc_features_to_metric(logits.double(), splits=1, shuffle=False)["inception_score_mean"]
    assert inception_score(logits.double().softmax(1)) == pytest.approx(float(expected), rel=1e-9)


def test_refuses_what_are_not_probabilities() -> None:
    with pytest.raises(DataError, match="were logits given"):
        inception_score(torch.randn(20, 10, generator=torch_generator(0, "score")))
    with pytest.raises(DataError, match="N >= 1"):
        inception_score(torch.zeros(0, 10))
