"""Rates over the rounds of a run, by hand."""

import pytest

from common.config import RunConfig, upgraded
from common.config_sections import LocalConfig
from common.optimisers.rate_schedule import rate_share


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
    assert [rate_share(local, k, 5) for k in range(1, 6)] == pytest.approx(expected, abs=1e-6)
    assert rate_share(local, 1, 1) == 1


@pytest.mark.parametrize(
    ("schedule", "warmup_rounds", "expected"),
    [
        ("constant", 1, [1 / 2, 1, 1, 1, 1]),
        ("constant", 3, [1 / 4, 2 / 4, 3 / 4, 1, 1]),
        ("linear", 2, [1 / 3, 2 / 3, 1, 0.6, 0.2]),
        # 0.2 + 0.8 (1 + cos(pi / 3)) / 2, and with cos(2 pi / 3)
        ("cosine", 1, [1 / 2, 1, 0.8, 0.4, 0.2]),
        ("cosine", 4, [1 / 5, 2 / 5, 3 / 5, 4 / 5, 1]),
        ("cosine", 9, [1 / 10, 2 / 10, 3 / 10, 4 / 10, 5 / 10]),
    ],
)
def test_rates_rise_over_the_first_rounds_and_fall_over_the_others(schedule, warmup_rounds, expected):
    local = LocalConfig(schedule=schedule, final_rate=0.2, warmup_rounds=warmup_rounds)
    assert [rate_share(local, k, 5) for k in range(1, 6)] == pytest.approx(expected, abs=1e-6)


def shares(**options):
    local = LocalConfig(steps=10, final_rate=0.0, **options)
    return [rate_share(local, k, 5) for k in range(1, 6)]


def test_after_many_steps_rates_fall_as_one_over_the_root_of_them_too():
    # linear without it: 1, .75, .5, .25, 0 after 0, 10, 20, 30 and 40 steps
    expected = [1, 0.75, 0.5 * (15 / 20) ** 0.5, 0.25 * (15 / 30) ** 0.5, 0]
    assert shares(schedule="linear", full_rate_steps=15) == pytest.approx(expected)
    assert shares(schedule="linear", full_rate_steps=0) == shares(schedule="linear", full_rate_steps=40)
    assert shares(schedule="constant", full_rate_steps=15) == [1] * 5


def test_the_peak_of_a_long_run_falls_with_the_root_of_all_its_steps():
    # 50 steps in all: the root of 8 / 50 is .4
    assert shares(schedule="linear", peak_steps=8) == pytest.approx([0.4, 0.3, 0.2, 0.1, 0])
    assert shares(schedule="linear", peak_steps=8, warmup_rounds=2) == pytest.approx([0.4 / 3, 0.8 / 3, 0.4, 0.2, 0])
    both = [0.4, 0.3, 0.2 * (15 / 20) ** 0.5, 0.1 * (15 / 30) ** 0.5, 0]
    assert shares(schedule="linear", peak_steps=8, full_rate_steps=15) == pytest.approx(both)


@pytest.mark.parametrize("options", [{"peak_steps": 0}, {"peak_steps": 50}, {"peak_steps": 1200}])
def test_a_run_of_few_steps_begins_at_the_full_rates(options):
    assert shares(schedule="linear", **options) == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    assert shares(schedule="linear", peak_steps=49)[0] < 1


def test_constant_rates_do_not_depend_on_the_length_of_a_run():
    assert shares(schedule="constant", peak_steps=8) == [1] * 5


def test_the_only_round_of_a_long_run_has_its_peak():
    assert rate_share(LocalConfig(steps=200, peak_steps=8), 1, 1) == pytest.approx(0.2)


def test_an_earlier_run_began_at_full_rates_however_long():
    stored = upgraded({"local.schedule": "cosine"})
    local = RunConfig.from_flat(stored).local
    assert (local.peak_steps, local.full_rate_steps) == (0, 0)
    assert RunConfig.from_flat(stored).identity() != RunConfig().identity()


def test_an_earlier_run_whose_rates_fell_sooner_keeps_that():
    stored = upgraded({"local.schedule": "cosine", "local.full-rate-steps": 800})
    assert (stored["local.peak-steps"], stored["local.full-rate-steps"]) == (0, 800)


def test_a_run_whose_rates_fall_goes_on_only_under_its_own_number_of_rounds():
    for schedule, differs in (("constant", False), ("linear", True), ("cosine", True)):
        config = RunConfig.from_flat({"local.schedule": schedule})
        longer = config.replaced({"federation.num-rounds": 99})
        assert (longer.identity() != config.identity()) == differs


def test_a_warm_up_belongs_to_the_run_and_none_is_what_earlier_versions_had():
    config = RunConfig()
    assert "local.warmup-rounds" not in config.identity()
    assert config.replaced({"local.warmup-rounds": 2}).identity()["local.warmup-rounds"] == 2
