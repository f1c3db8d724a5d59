"""Federated evaluation in process: sites that send moments of their images, and a server that has none."""

import json

import numpy as np
import pytest
import torch

from client import data
from client.app import app
from client.site import Site
from common import metrics
from common.config import RunConfig
from server.app import run_federation
from server.evaluation.evaluator import Evaluator
from server.records import journal, run_directory
from server.records.run_directory import RunDirectory
from simulations.runs.generator import load_trained
from simulations.runtime.in_process import simulate
from simulations.runtime.in_process_grid import InProcessGrid

TELLING = {"evaluation__extractor": "auto", "evaluation__every": 1, "federation__num_rounds": 2}


def summary_of(config):
    return json.loads(RunDirectory(run_directory.resolve(config.output.dir).path).summary.read_text())


def write_sites(folder, num):
    """Writes images of the embedded digits for sites of their own, and returns their node configurations."""
    train = RunConfig().source.load(None).train
    for k in range(num):
        rows = torch.arange(k, len(train), num * 10)
        few = train.subset(rows.numpy())
        np.savez(folder / f"{k}.npz", images=few.images[:, 0].numpy(), labels=few.labels.numpy())
    return [{"data": f"npz:{folder / f'{k}.npz'}"} for k in range(num)]


def federate(config, sites):
    grid = InProcessGrid(app, config.flat(), config.federation.num_clients, 1)
    for k, node_config in enumerate(sites):
        grid._node_configs[k] |= node_config
    try:
        run_federation(config, RunDirectory(run_directory.resolve(config.output.dir).path), grid)
    finally:
        grid.close()
    return summary_of(config)


@pytest.mark.slow
def test_a_server_without_images_scores_by_what_sites_tell_and_goes_by_it(small, tmp_path, caplog):
    caplog.set_level("INFO", logger="fedgan.server")
    sites = write_sites(tmp_path, 4)
    sites[1]["disclose-labels"] = False
    sites[2]["disclose-moments"] = False
    config = small(**TELLING, data__name="npz", data__root=str(tmp_path / "none.npz"))
    summary = federate(config, sites)
    scores = summary["scores"]
    assert "fid" not in scores
    assert scores["federated-clients"] == [0, 1, 3]
    assert [fid is None for fid in scores["client-fid"]] == [False, True, True, False]
    assert scores["worst-class-fid"] == max(scores["class-fid"])
    assert "1 of 4 clients tell none: partition 2: disclose-moments=false" in caplog.text
    run = RunDirectory(tmp_path / "run")
    fids = [line["scores"]["federated-fid"] for line in journal.read(run.journal)]
    assert summary["best"] == {"round": 1 + fids.index(min(fids)), "federated-fid": min(fids)}
    assert f"It makes class {scores['worst-class']} worst" in run.report.read_text()

    sites[0]["disclose-moments"] = False  # from now on; what was told stays
    again = small(**TELLING | {"federation__num_rounds": 3}, data__name="npz", data__root="/none", output__resume=True)
    federate(again, sites)
    lines = journal.read(run.journal)
    assert [line["scores"]["federated-fid"] for line in lines[:2]] == fids
    assert lines[2]["scores"]["federated-clients"] == [0, 1, 3]


@pytest.mark.slow
@pytest.mark.parametrize(("every", "rounds_before"), [(1, 1), (0, 2)])
def test_moments_are_requested_once_and_when_the_first_scores_are_due(small, every, rounds_before):
    class Listening(InProcessGrid):
        def push_messages(self, messages):
            pushed = list(messages)
            heard.extend(message.metadata.message_type for message in pushed)
            return super().push_messages(pushed)

    heard = []
    config = small(**TELLING | {"evaluation__every": every})
    grid = Listening(app, config.flat(), config.federation.num_clients, 1)
    try:
        run_federation(config, RunDirectory(run_directory.resolve(config.output.dir).path), grid)
    finally:
        grid.close()
    assert "federated-fid" in summary_of(config)["scores"]
    trained = ["train"] * 4
    assert heard == ["query"] * 4 + trained * rounds_before + ["query.ask"] * 4 + trained * (2 - rounds_before)


@pytest.mark.slow
def test_the_federated_fid_of_a_run_is_that_of_all_clients_images_in_one_place(small):
    config = small(**TELLING | {"federation__num_rounds": 1}, evaluation__final_num_samples=400)
    simulate(config, num_workers=1)
    scores = summary_of(config)["scores"]
    trained = load_trained(RunDirectory(run_directory.resolve(config.output.dir).path).path, None, None)
    shards = [data.shard(config, Site.of({"partition-id": k, "num-partitions": 4})) for k in range(4)]
    images = torch.cat([shard.examples.stored for shard in shards])
    counts = torch.bincount(torch.cat([shard.examples.labels for shard in shards]), minlength=10).tolist()
    sample = Evaluator(config, config.source.load(None)).sample(trained.generator, 400)
    fakes = [metrics.Moments.of(sample.features[sample.labels == k]) for k in range(10)]
    real = metrics.Moments.of(metrics.make_extractor("mnist-cnn")(images))
    pooled = metrics.frechet_distance(real, metrics.mixed(fakes, counts))
    assert scores["federated-fid"] == pytest.approx(pooled, rel=1e-6)


@pytest.mark.slow
def test_asking_for_moments_changes_no_weight_and_holding_images_out_does(small):
    digests, scores = {}, {}
    short = TELLING | {"federation__num_rounds": 1, "evaluation__every": 0}
    for name, changes in (
        ("plain", {"evaluation__federated": False}),
        ("asked", {}),
        ("held", {"evaluation__federated": False, "evaluation__holdout": 0.25}),
    ):
        config = small(name, **short | changes)
        simulate(config, num_workers=1)
        summary = summary_of(config)
        digests[name], scores[name] = summary["weights-sha256"], summary["scores"]
    assert digests["plain"] == digests["asked"] != digests["held"]
    assert "federated-fid" not in scores["plain"]
    assert scores["plain"]["fid"] == scores["asked"]["fid"]
    assert "memorisation" not in scores["asked"]
    ratios, errors = scores["held"]["memorisation"], scores["held"]["memorisation-error"]
    assert all(abs(ratio - 1) < 4 * error for ratio, error in zip(ratios, errors, strict=True))  # hardly trained
    assert scores["held"]["most-memorised-ratio"] == min(ratios)
