"""What a card tells of how a generator was trained."""

from types import SimpleNamespace

import pytest

from common.config import RunConfig
from common.examples import ImageSpec
from server.records.privacy_ledger import PrivacyLedger
from simulations.export import card
from tests.unit.server.records.test_privacy_ledger import CONFIG, answer


@pytest.mark.parametrize(
    ("transforms", "reported"), [("clip", False), ("clip | noise multiplier=0.1 | compress", True)]
)
def test_noise_is_shown_with_what_it_does_not_promise(transforms, reported):
    run = SimpleNamespace(read_summary=dict, read_partition=lambda: {"clients": []})
    trained = SimpleNamespace(config=RunConfig(transforms=transforms), spec=ImageSpec(1, 28, 10))
    assert ("without an accountant, so it is no (epsilon, delta) guarantee" in card.privacy(run, trained)) == reported


def test_the_promise_of_a_private_run_is_said_with_what_it_has_spent(tmp_path):
    ledger = PrivacyLedger.begun(tmp_path / "privacy.jsonl", CONFIG, {k: answer(k, "system") for k in (0, 1)})
    ledger.charge(1, 0, {0: "w", 1: "w"})
    run = SimpleNamespace(read_summary=dict, read_partition=dict, privacy=tmp_path / "privacy.jsonl")
    words = card.privacy(run, SimpleNamespace(config=CONFIG, spec=ImageSpec(1, 28, 10)))
    assert f"epsilon {ledger.spent(0):.2f} of 10, delta 1e-05" in words
    assert "differential privacy**" not in words
