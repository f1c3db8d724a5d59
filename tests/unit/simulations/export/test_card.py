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


AUDITED = {
    "fid": 20.0,
    "memorisation-ratio": [0.5, 0.9],
    "most-memorised-ratio": 0.5,
    "nearest-auc": [0.9, 0.5],
    "nearest-auc-low": [0.8, 0.4],
    "worst-nearest-auc": 0.9,
    "copying-z": [-9.0, 1.0],
}
"""What a run has that was audited: figures of single clients, without noise."""


@pytest.mark.parametrize("promise", ["none", "example epsilon=10", "client epsilon=8"])
def test_what_is_measured_on_clients_own_data_is_on_no_card_of_a_private_run(tmp_path, promise):
    clients = [{"partition": k, "num-examples": 40, "label-counts": [40], "site": f"ward {k}"} for k in (0, 1)]
    if promise != "none":
        clients = [client | {"label-counts": None} for client in clients]
    run = SimpleNamespace(
        read_summary=lambda: {"rounds": 3, "scores": AUDITED},
        read_partition=lambda: {"clients": clients},
        privacy=tmp_path / "none",
    )
    config = RunConfig.from_flat({"privacy": promise})
    trained = SimpleNamespace(config=config, spec=ImageSpec(1, 28, 10), round=3, compressed=None)
    words = "\n".join([*card.training(run, trained), *card.scores(run, trained, []), card.privacy(run, trained)])
    assert "| fid | 20 |" in words
    is_said = promise == "none"
    for part in ("worst-nearest-auc", "most-memorised-ratio", "is exposed", "z = -9.0"):
        assert (part in words) == is_said
    assert ("no noise is in it: `fedgan audit RUN`" in words) != is_said
    assert ("ward 0" in words) == (promise != "client epsilon=8")
    assert ("who they are and what each holds is left out" in words) == (promise == "client epsilon=8")
    assert ("all clients alike, by the promise of privacy" in words) == (promise == "client epsilon=8")
