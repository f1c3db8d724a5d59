"""Clients of text who train alone: what each is scored by, and how a row of them goes on."""

import io
import json
import math
from dataclasses import replace

import pytest
import torch
from conftest import SMALL, TEXT

from client.data import shard
from client.site import Site
from common.config import RunConfig
from common.errors import ConfigError, DivergenceError, OtherRunError
from common.examples.text import PAD
from common.generation import load_sampler
from common.metrics.next_token import scores_of, tally
from simulations.benchmark.protocols import make_entry
from simulations.runtime.settings import read_preset
from simulations.studies import alone, collected_results, running, tables
from simulations.studies import cells as bench

BASE = RunConfig.from_flat({**SMALL, **TEXT, "federation.fraction": 0.67, "federation.num-rounds": 3})


def cell_in(folder, base=BASE):
    entry = make_entry("local-only", base)
    (cell,) = bench.plan(base, [entry], (0,), folder)
    bench.open_table(folder, {"protocol": "T1", "budget": "cpu", "title": "x", "overrides": {}}, base, [entry])
    return cell


def lines_of(cell):
    found = map(json.loads, (cell.path / "clients.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key != "seconds"} for line in found]


def test_a_client_takes_as_many_steps_as_rounds_give_one_on_average():
    settings = alone.settings(RunConfig.from_flat(read_preset("t1")))
    steps = settings["federation.num-rounds"]
    assert steps == 37  # 120 rounds of 10 clients who take 20 steps, over 652
    assert settings == {"federation.num-rounds": 37, "local.steps": 1, "local.warmup-rounds": 1}  # of 3 rounds in 120


def test_only_of_text_each_client_has_a_model_of_its_own_that_is_forgotten():
    assert make_entry("local-only", BASE).kind == "alone"
    assert make_entry("local-only", RunConfig.from_flat(read_preset("p1"))).kind == "local-only"


def test_a_promise_of_privacy_is_refused_as_nothing_here_would_keep_it(tmp_path):
    promise = {"data.name": "shakespeare tokens=bytes", "privacy": "example epsilon=10", "local.fake-labels": "uniform"}
    with pytest.raises(ConfigError, match="clients that train alone are scored without noise"):
        alone.train_alone(BASE.replaced(promise), tmp_path, 1, io.StringIO())
    assert not list(tmp_path.iterdir())


def test_each_client_is_scored_by_its_own_model_on_its_own_text_and_the_row_goes_on(tmp_path):
    cell = cell_in(tmp_path / "a")
    assert bench.state_of(cell) == "new"
    assert running.execute(cell, 2, io.StringIO())
    assert bench.state_of(cell) == "finished"
    lines = lines_of(cell)
    assert [line["partition"] for line in lines] == [0, 1, 2]
    for k, line in enumerate(lines):
        held = shard(cell.config, Site(partition_id=k, num_partitions=3))
        own = held.test.stored[:, held.spec.overlap :]
        assert line["sums"][0] == int((own != PAD).sum())  # each held-out character once
        assert line["examples"] == 4 * 8  # 3 rounds of 2 of 3 clients who take 2 steps: 4 steps each, of 8 rows
        model = cell.config.model_component
        start = load_sampler(model, held.spec, model.build(held.spec, cell.config.seed).state_dict())
        untrained = float(tally(start, held.test.stored, held.test.labels)[:, 2].sum())
        assert 0 < line["sums"][2] < untrained
    results = collected_results.collect(tmp_path / "a")
    (row,) = results["rows"]
    total = torch.tensor([line["sums"] for line in lines]).sum(0)
    assert row["final"]["accuracy"]["mean"] == pytest.approx(float(total[1] / total[0]), rel=1e-5)
    assert "4 steps" in tables.markdown(results)

    begun = cell_in(tmp_path / "b")  # killed in the middle of a line
    begun.path.mkdir(parents=True)
    (begun.path / "settings.json").write_text(json.dumps(begun.config.flat()))
    marked = json.dumps(lines[0] | {"seconds": 1.0, "examples": 7})
    (begun.path / "clients.jsonl").write_text(marked + '\n{"partition": 1, "su')
    assert bench.state_of(begun) == "begun"
    said = io.StringIO()
    assert running.execute(begun, 1, said)
    assert lines_of(begun) == [lines[0] | {"examples": 7}, *lines[1:]]  # the first is not trained again, others alike
    assert said.getvalue().startswith("2/3 clients")
    with pytest.raises(OtherRunError, match="learning-rate"):
        bench.state_of(replace(begun, config=begun.config.replaced({"local.learning-rate": 1e-4})))
    stored = begun.path / "settings.json"
    stored.write_text(stored.read_text().replace("mean class-rows=moved", "mean"))  # as an earlier version wrote it
    with pytest.raises(OtherRunError, match="class-rows=all"):
        bench.state_of(begun)


def test_a_client_that_diverges_is_why_the_row_failed(tmp_path, monkeypatch):
    def broken(config, partition):
        raise DivergenceError(f"loss is nan on partition {partition}")

    monkeypatch.setattr(alone, "_client", broken)
    cell = cell_in(tmp_path)
    assert not running.execute(cell, 1, io.StringIO())
    assert bench.state_of(cell) == "failed"
    assert "partition 0" in cell.failure.read_text()


def test_scores_of_a_row_weigh_characters_and_clients():
    sums = torch.tensor([[10, 5, 10], [0, 0, 0], [30, 3, 90]], dtype=torch.float64)
    found = {**scores_of(sums, sums), **alone.nats_of(sums)}
    assert found["accuracy"] == pytest.approx(8 / 40)
    assert found["mean-clients-accuracy"] == pytest.approx((0.5 + 0.1) / 2)
    assert found["worst-clients-accuracy"] == pytest.approx(0.1)
    assert found["nats-per-character"] == pytest.approx(100 / 40)
    assert found["mean-clients-nats"] == pytest.approx((1 + 3) / 2)
    assert found["bits-per-character"] == pytest.approx(2.5 / math.log(2))
