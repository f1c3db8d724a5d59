"""What ``aggregate="secure-mean"`` goes together with, and what it excludes by name."""

import pytest

from common.config import RunConfig
from common.errors import ConfigError

SECURE = {"aggregate": "secure-mean threshold=3", "federation.num-clients": 4}


def config(**changes):
    values = SECURE | {key.replace("__", ".").replace("_", "-"): value for key, value in changes.items()}
    return RunConfig.from_flat(values)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"algorithm": "fedprox"},
        {"algorithm": "fedopt optimizer=adam"},
        {"algorithm": "fedavg sync=generator ema-steps=true"},
        {"weighting": "uniform"},
        {"transforms": "clip norm=1.0"},
        {"transforms": "clip norm=1.0 | noise multiplier=0.1"},
        {"admission__max_norm_ratio": 0.0},
        {"aggregate": "secure-mean threshold=4"},
    ],
)
def test_what_needs_sums_alone_goes_with_it(changes):
    assert config(**changes).least_replies(4) >= 3


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"transforms": "compress to=int8"}, "compress makes updates shorter, and under masks each number has 64 bits"),
        ({"weighting": "kl-skewed"}, "weighting='kl-skewed' weighs clients by what they send"),
        ({"weighting": "kl-typical"}, "weighting='kl-typical' weighs clients by what they send"),
        ({"admission__max_norm_ratio": 2.0}, "admission.max-norm-ratio=2 compares norms of updates"),
        ({"aggregate": "secure-mean threshold=5"}, "needs 5 replies a round, .* or threshold <= 4"),
        ({"federation__num_clients": 6}, "threshold=3 of the 6 clients .* take threshold=4 or more, up to 6"),
        ({"aggregate": "secure-mean threshold=2"}, "each of two clients would know the other's update"),
        ({"aggregate": "secure-mean", "federation__num_clients": 2}, "needs 3 replies a round"),
    ],
)
def test_what_looks_at_single_updates_is_refused_by_name(changes, expected):
    with pytest.raises(ConfigError, match=expected):
        config(**changes)


@pytest.mark.parametrize(
    "name", ["effgan", "f2u", "fegan", "ifl-gan", "md-gan", "scaffold", "server-generator", "ua-gan"]
)
def test_every_other_algorithm_is_refused(name):
    with pytest.raises(ConfigError, match=f"algorithm='{name}' looks at what single clients send"):
        config(algorithm=name)


def test_a_client_counts_by_its_examples_or_once():
    assert config().counted_times(70) == 70
    assert config(weighting="uniform").counted_times(70) == 1
    assert config(transforms="clip norm=1.0 | noise multiplier=0.1").counted_times(70) == 1


@pytest.mark.parametrize(("cohort", "threshold"), [(3, 3), (4, 3), (5, 4), (6, 5), (10, 7), (100, 67)])
def test_by_default_more_than_two_thirds_of_a_round_undo_masks(cohort, threshold):
    found = config(aggregate="secure-mean", federation__num_clients=cohort)
    assert found.mask_threshold == found.least_replies(cohort) == threshold
