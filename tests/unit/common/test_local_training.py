"""Rates over the rounds of a run, by hand."""

import pytest

from common.config import RunConfig
from common.local_training import LocalConfig


@pytest.mark.parametrize(
    ("schedule", "final_rate", "expected"),
    [
        ("constant", 0.5, [1, 1, 1, 1, 1]),
        ("linear", 0.0, [1, 0.75, 0.5, 0.25, 0]),
        ("linear", 0.2, [1, 0.8, 0.6, 0.4, 0.2]),
        # (1 + cos(pi / 4)) / 2 = 0.853553
        ("cosine", 0.0, [1, 0.853553, 0.5, 0.146447, 0]),
        ("cosine", 0.1, [1, 0.868198, 0.55, 0.231802, 0.1]),
    ],
)
def test_rates_fall_from_the_first_round_to_the_last(schedule, final_rate, expected):
    local = LocalConfig(schedule=schedule, final_rate=final_rate)
    assert [local.rate_share(k, 5) for k in range(1, 6)] == pytest.approx(expected, abs=1e-6)
    assert local.rate_share(1, 1) == 1


def test_a_run_whose_rates_fall_goes_on_only_under_its_own_number_of_rounds():
    for schedule, differs in (("constant", False), ("linear", True), ("cosine", True)):
        config = RunConfig.from_flat({"local.schedule": schedule})
        longer = config.replaced({"federation.num-rounds": 99})
        assert (longer.identity() != config.identity()) == differs
