"""A malicious client in a real run: it ruins the mean, and a robust aggregate does not let it."""

import time

import pytest
import torch

from benchmarks.attacks import ATTACKS, run, table

SMALL = {
    "model": "dcgan width=8",
    "federation.num-clients": 5,  # one of them, a fifth as in the table of docs/security.md, is malicious
    "federation.num-rounds": 8,
    "local.batch-size": 16,
    "evaluation.every": 0,
}
ROBUST = "multi-krum f=1"


@pytest.mark.slow
def test_an_attack_ruins_the_mean_and_no_attack_ruins_a_robust_aggregate(capsys):
    torch.set_num_threads(1)
    start = time.perf_counter()
    cells = {("mean", "none"): run("mean", None, SMALL)}
    cells |= {("mean", attack): run("mean", attack, SMALL) for attack in ("100x", "noise")}
    cells |= {(ROBUST, attack): run(ROBUST, attack, SMALL) for attack in ATTACKS}
    with capsys.disabled():
        print(f"\n{table(cells)}\n{time.perf_counter() - start:.0f} s")
    honest = cells["mean", "none"].fid
    assert honest < 400, "the run that is attacked has learned nothing that could be lost"
    for (aggregate, attack), outcome in cells.items():
        if attack != "none":
            lost = outcome.fid / honest
            assert lost > 3 if aggregate == "mean" else lost < 1.5, f"{aggregate} under {attack}: {lost:.2f} times"
