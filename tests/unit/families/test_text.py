"""Text goes through every averaging algorithm, mean, engine and runtime, as pictures do."""

import json
from dataclasses import replace

import pytest

from client import data
from client.site import Site
from common.aggregators import AGGREGATORS
from common.algorithms import ALGORITHMS
from common.config import RunConfig
from common.datasets import DATASETS
from common.errors import ConfigError
from common.examples import TextSet, spec_from
from server.records import journal, run_directory
from server.records.run_directory import RunDirectory
from simulations.runtime import in_process
from simulations.runtime.in_process import simulate
from tests.equivalence.test_algorithms import GridOfBytes
from tests.unit.families.counting_text import CountingText

pytestmark = pytest.mark.usefixtures("no_reports")

MODELS = ("transformer layers=1 heads=2 width=8", "lstm layers=1 width=8 embedding=4")
REFUSED = {"fedavg sync=discriminator", "md-gan", "ua-gan", "f2u", "server-generator"}
AVERAGING = [name for name, kind in ALGORITHMS.items() if name not in REFUSED and kind.fitting == "steps"]


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(DATASETS, "counting-text", CountingText)


@pytest.fixture
def text(tmp_path):
    """Returns a maker of configurations of a small federation of roles."""

    def make(name, model=MODELS[0], **changes):
        values = {
            "data.name": "counting-text context=6",
            "model": model,
            "objective": "next-token",
            "optimiser": "adamw",
            "partition": "by-source",
            "federation.num-clients": 5,
            "federation.num-rounds": 2,
            "local.steps": 2,
            "local.batch-size": 4,
            "local.learning-rate": 0.01,
            "local.schedule": "constant",
            "evaluation.every": 0,
            "evaluation.num-samples": 100,
            "evaluation.final-num-samples": 100,
            "evaluation.utility-num-samples": 0,
            "output.checkpoint-every": 1,
            "output.dir": str(tmp_path / name),
        }
        return RunConfig.from_flat(values | changes)

    return make


def summary_of(config):
    return json.loads(run_directory.resolve(config.output.dir).summary.read_text())


def losses_of(config):
    lines = journal.read(run_directory.resolve(config.output.dir).journal)
    return [[client["token-loss"] for client in line["clients"]] for line in lines if line["clients"]]


@pytest.mark.parametrize("algorithm", AVERAGING)
def test_every_averaging_algorithm_gives_the_same_bits_by_reference_and_as_bytes(text, monkeypatch, algorithm):
    changes = {"algorithm": algorithm, "federation.fraction": 0.8, "local.moments": "keep"}
    ours, theirs = text("ours", **changes), text("theirs", **changes)
    simulate(ours, num_workers=1)
    monkeypatch.setattr(in_process, "InProcessGrid", GridOfBytes)
    simulate(theirs, num_workers=2)
    for key in ("weights-sha256", "generator-sha256"):
        assert summary_of(theirs)[key] == summary_of(ours)[key]
    assert len(losses_of(ours)[-1]) == 4


@pytest.mark.parametrize("algorithm", sorted(REFUSED))
def test_algorithms_with_a_discriminator_are_refused_in_one_line(text, algorithm):
    with pytest.raises(ConfigError, match=r"^[^\n]*discriminator[^\n]*$|^[^\n]*adversar[^\n]*$"):
        simulate(text("run", algorithm=algorithm), num_workers=1)


@pytest.mark.parametrize("aggregate", AGGREGATORS)
def test_every_mean_takes_text_and_robust_ones_are_another(text, aggregate):
    plain, other = text("plain", **{"federation.num-rounds": 1}), text("other", aggregate=aggregate)
    other = other.replaced({"federation.num-rounds": 1})
    simulate(plain, num_workers=1)
    simulate(other, num_workers=1)
    line = journal.read(run_directory.resolve(other.output.dir).journal)[0]
    assert (line["round"], line["refused"], len(line["clients"])) == (1, [], 5)
    assert losses_of(other) == losses_of(plain)
    same = summary_of(other)["weights-sha256"] == summary_of(plain)["weights-sha256"]
    if aggregate != "secure-mean":  # which is the mean to rounding
        assert same == (aggregate == "mean")


@pytest.mark.parametrize("model", MODELS)
def test_a_run_that_is_compressed_goes_on_to_the_same_bits(text, model):
    changes = {"model": model, "transforms": "compress to=int8", "federation.num-rounds": 4, "local.moments": "keep"}
    changes |= {"local.schedule": "cosine", "local.warmup-rounds": 1}
    whole, cut = text("whole", **changes), text("cut", **changes)
    simulate(whole, num_workers=1)
    count = iter(range(100))

    def on_reply(partition):
        if next(count) == 11:  # in the third round of five clients
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(cut, num_workers=1, on_reply=on_reply)
    simulate(cut.replaced({"output.resume": True}), num_workers=1)
    assert summary_of(cut)["weights-sha256"] == summary_of(whole)["weights-sha256"]


@pytest.mark.parametrize("model", MODELS)
def test_roles_trained_together_lose_what_they_do_one_after_another(text, model, caplog):
    loop, together = text("loop", model), text("together", model)
    simulate(loop, num_workers=1)
    with caplog.at_level("INFO"):
        simulate(together, num_workers=1, engine="batched")
    assert "not together" not in caplog.text
    for one, other in zip(losses_of(loop), losses_of(together), strict=True):
        assert other == pytest.approx(one, rel=1e-3)


def test_each_client_is_a_role_and_a_run_learns_to_count(text):
    config = text("run", **{"federation.num-rounds": 4, "local.steps": 5, "local.learning-rate": 0.05})
    simulate(config, num_workers=1)
    losses = [sum(row) / len(row) for row in losses_of(config)]
    assert losses[-1] < 0.8 * losses[0]
    found = run_directory.resolve(config.output.dir)
    clients = journal.read(found.journal)[0]["clients"]
    assert sorted(client["partition"] for client in clients) == [0, 1, 2, 3, 4]
    (sample,) = sorted(found.path.glob("samples/round-0004.*"))
    assert sample.suffix == ".txt"


def test_sites_that_know_other_characters_train_one_network_for_all(text, monkeypatch):
    whole = data.shard

    def own(config, site):
        found = whole(config, site)
        rows = found.examples
        characters = "ABCDE"[site.partition_id] + found.spec.vocabulary
        return replace(found, examples=TextSet(rows.stored, rows.labels, found.spec.overlap, characters))

    monkeypatch.setattr(data, "shard", own)
    config = text("apart")
    simulate(config, num_workers=1)
    run = RunDirectory(run_directory.resolve(config.output.dir).path)
    vocabularies = {own(config, Site(partition_id=k, num_partitions=5)).spec.vocabulary for k in range(5)}
    assert len(vocabularies) > 1
    spec = spec_from(run.read_partition()["shape"])
    assert spec.vocabulary == "".join(sorted(set("".join(vocabularies))))
    assert all(len(line["clients"]) == 5 for line in journal.read(run.journal))
