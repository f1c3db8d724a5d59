"""A malicious client in a real run: it ruins the mean, and a robust aggregate does not let it."""

import time

import pytest
import torch

from client.batches import Assignment
from client.trainer import Trainer
from common.examples import ImageSet
from simulations.performance.attacks import ATTACKS, label_flip, run, table

SMALL = {
    "model": "dcgan width=8",
    "federation.num-clients": 5,  # one of them, a fifth as in the table of docs/security.md, is malicious
    "federation.num-rounds": 10,
    "local.batch-size": 16,
    "evaluation.every": 0,
}
ROBUST = "multi-krum f=1"
SUBTLE = ("sign flip", "labels")
"""Attacks of steps that are no longer than honest ones. Of longer ones (test_aggregators.py) no bit is left either."""


def test_forged_steps_are_as_long_as_they_say():
    sent, trained = torch.randn(2, 300, generator=torch.Generator().manual_seed(0))
    step = trained - sent
    forged = {k: f(sent, trained, torch.Generator()) - sent for k, f in ATTACKS.items() if f is not None}
    torch.testing.assert_close(forged["sign flip"], -step, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(forged["100x"], 100 * step, rtol=1e-4, atol=1e-4)
    assert float(forged["noise"].norm() / step.norm()) == pytest.approx(10, rel=1e-4)
    assert abs(float(torch.cosine_similarity(forged["noise"], step, dim=0))) < 0.3


def test_labels_are_flipped_in_malicious_partitions_only(monkeypatch):
    seen = {}
    monkeypatch.setattr(
        Trainer, "assign", lambda self, a, moments: seen.update({a.partition: a.examples.labels.tolist()})
    )
    images = ImageSet(torch.zeros(3, 1, 28, 28, dtype=torch.uint8), torch.tensor([0, 4, 9]))
    for active, partition in ((True, 2), (True, 3), (False, 7)):
        with label_flip(active):
            Trainer.assign(None, Assignment(images, 0, partition, 1), None)
    assert seen == {2: [0, 4, 9], 3: [9, 5, 0], 7: [0, 4, 9]}


@pytest.mark.slow
@pytest.mark.usefixtures("no_reports")
def test_an_attack_ruins_the_mean_and_subtle_ones_do_not_ruin_a_robust_aggregate(capsys):
    torch.set_num_threads(1)
    start = time.perf_counter()
    cells = {("mean", "none"): run("mean", None, SMALL), ("mean", "100x"): run("mean", "100x", SMALL)}
    cells |= {(ROBUST, attack): run(ROBUST, attack, SMALL) for attack in SUBTLE}
    with capsys.disabled():
        print(f"\n{table(cells)}\n{time.perf_counter() - start:.0f} s")
    honest = cells["mean", "none"].fid
    assert honest < 300, "the run that is attacked has learned nothing that could be lost"
    for (aggregate, attack), outcome in cells.items():
        if attack != "none":
            lost = outcome.fid / honest
            assert lost > 3 if aggregate == "mean" else lost < 1.5, f"{aggregate} under {attack}: {lost:.2f} times"
