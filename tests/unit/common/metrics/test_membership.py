"""Checks what is said of attacks on membership: which client is exposed most, and what chance explains."""

from types import SimpleNamespace

import pytest

from common.metrics import Names
from common.metrics.membership import MEMBERSHIP, attack_scores, canary_scores, copying_scores, far

NOBODY = Names()


def achieved(auc, low, rate=0.01):
    return SimpleNamespace(auc=auc, auc_low=low, rate=rate)


def test_scores_are_by_client_and_of_the_worst():
    found = attack_scores("networks", {0: achieved(0.5, 0.4), 2: achieved(0.9, 0.8, 0.3)}, 3)
    assert found == {
        "networks-auc": [0.5, None, 0.9],
        "networks-auc-low": [0.4, None, 0.8],
        "networks-rate": [0.01, None, 0.3],
        "worst-networks-auc": 0.9,
    }
    assert attack_scores("networks", {}, 3) == copying_scores({}, 3) == {}
    assert copying_scores({1: -4.0}, 2) == {"copying-z": [None, -4.0]}


@pytest.mark.parametrize(
    ("auc", "low", "words"),
    [
        (0.60, 0.55, "AUC of 0.60 ± 0.03, where chance is 0.5: it is exposed"),  # 3.9 standard errors
        (0.56, 0.51, "AUC of 0.56 ± 0.03, where chance is 0.5: chance explains that"),  # 2.4: the worst of many
    ],
)
def test_a_client_is_exposed_beyond_three_standard_errors(auc, low, words):
    scores = attack_scores("nearest", {0: achieved(0.5, 0.45), 1: achieved(auc, low)}, 2)
    (sentence,) = MEMBERSHIP.weak_spots(scores, Names(clients={1: "north"}))
    assert "client 1 (north)" in sentence
    assert sentence.startswith("Whoever has the generator")
    assert words in sentence


@pytest.mark.parametrize(("num", "is_exposed"), [(10, True), (500, False)])
def test_the_worst_of_many_clients_must_be_further_off(num, is_exposed):
    achieve = {k: achieved(0.5, 0.4) for k in range(num)} | {1: achieved(0.65, 0.565)}  # 3.5 standard errors
    (sentence,) = MEMBERSHIP.weak_spots(attack_scores("nearest", achieve, num), NOBODY)
    assert ("it is exposed" in sentence) == is_exposed
    copies = copying_scores({k: -3.5 if k == 1 else 0.0 for k in range(num)}, num)
    assert bool(MEMBERSHIP.weak_spots(copies, NOBODY)) == is_exposed
    assert far(1) == far(10) == pytest.approx(3, abs=1e-12)
    assert 4.0 < far(500) < 4.1  # the worst of 500 standard normals is beyond it in 1.3 % of all cases


def test_copies_and_canaries_are_spoken_of_where_they_show_something():
    assert MEMBERSHIP.weak_spots(copying_scores({0: -2.9, 1: 30.0}, 2), NOBODY) == []
    (copies,) = MEMBERSHIP.weak_spots(copying_scores({0: -3.1, 1: 30.0}, 2), NOBODY)
    assert "client 0" in copies
    assert "z = -3.1" in copies
    (leak,) = MEMBERSHIP.weak_spots(canary_scores(1.25), NOBODY)
    assert "epsilon below 1.25 is true" in leak
    (none,) = MEMBERSHIP.weak_spots(canary_scores(0.0), NOBODY)
    assert "show no leak" in none
