"""Runs of before there were optimisers to choose from: read, shown, sampled, exported and gone on with."""

import json
import shutil
from pathlib import Path

import pytest

from common.config import RunConfig, upgraded
from common.errors import ConfigError
from server import checkpoint
from server.records import json_values, run_files
from server.records.report import write_report
from server.records.run_directory import RunDirectory
from simulations import load
from simulations.runtime import in_process
from tests.unit.simulations.serve.conftest import listening

OLD = Path(__file__).parents[3] / "old_runs"
NAMES = ["kept-moments", "own-generators"]


@pytest.fixture(params=NAMES)
def old(request, tmp_path):
    """Returns a copy of an old run directory."""
    return Path(shutil.copytree(OLD / request.param, tmp_path / request.param))


def test_what_has_moved_is_read_and_means_the_same(old):
    config = RunDirectory(old).read_config()
    expected = {"kept-moments": "adam beta1=0.5 beta2=0.99", "own-generators": "adam beta1=0.0 beta2=0.9"}
    assert config.optimiser == expected[old.name]
    (path,) = checkpoint.list_checkpoints(RunDirectory(old).checkpoints)
    assert checkpoint.load_checkpoint(path).config == json.loads(json.dumps(config.identity()))


def test_it_is_shown_sampled_and_exported(old, tmp_path):
    write_report(RunDirectory(old))
    client = {"client": 1} if old.name == "own-generators" else {}
    result = load(old)
    assert len(result.generate(3, **client)) == 3
    result.export("safetensors", str(tmp_path / "exported"), **client)
    with listening(old) as page:
        shown = page.get(f"/api/runs/{old.name}").json()
        assert shown["state"] == "finished"
        assert shown["config"]["optimiser"].startswith("adam")
        assert page.post(f"/api/runs/{old.name}/generate", json={"num": 1} | client).status_code == 200


@pytest.mark.usefixtures("no_reports")
def test_it_goes_on_with_its_own_weights_and_moments_to_the_same_bits_whatever_the_workers(tmp_path):
    config = RunDirectory(OLD / "kept-moments").read_config()
    config = config.replaced({"federation.num-rounds": 4, "evaluation.federated": False})
    digests = []
    for name, workers in (("one", 1), ("two", 2), ("anew", 1)):
        if is_old := name != "anew":
            shutil.copytree(OLD / "kept-moments", tmp_path / name)
        goes_on = config.replaced({"output.dir": str(tmp_path / name), "output.resume": is_old})
        in_process.simulate(goes_on, num_workers=workers)
        summary = RunDirectory(tmp_path / name).read_summary()
        assert summary["rounds"] == 4
        digests.append(summary["weights-sha256"])
    assert digests[0] == digests[1]
    assert digests[2] != digests[0], "earlier versions drew other random numbers: nothing is shown here"


def test_options_that_a_component_did_not_have_then_have_their_defaults():
    old = {"seed": 3, "data.name": "image-folder held-out=0.2 grey=true classes=''", "model": "unheard of"}
    new = RunConfig.from_flat({"data.name": "image-folder grey=true"}).data.name
    assert new != old["data.name"]  # else nothing is shown here
    assert upgraded(old) == {"seed": 3, "data.name": new, "model": "unheard of"}


def test_a_stored_transformer_that_knows_of_no_mixing_has_the_weights_that_it_had():
    old = "transformer conditional=true temperature=1.0 top-p=1.0 layers=4 heads=4 width=128"
    found = upgraded({"model": old})["model"]
    assert (old in found, "mixing=1" in found) == (True, True)
    today = RunConfig.from_flat({"data.name": "shakespeare", "model": old, "objective": "next-token"}).model
    assert "mixing=4" in today  # who writes it today has it
    assert upgraded({"model": f"{old} mixing=3"})["model"] == f"{old} mixing=3"


def test_a_stored_scaffold_goes_on_correcting_both_networks():
    old = "scaffold ema-half-life=2.0 sync=both"
    found = upgraded({"algorithm": old})["algorithm"]
    assert RunConfig.from_flat({"algorithm": found}).algorithm_component.correct_adversaries
    assert not RunConfig.from_flat({"algorithm": old}).algorithm_component.correct_adversaries  # who writes it today
    assert "correct-adversaries=false" in upgraded({"algorithm": f"{old} correct-adversaries=false"})["algorithm"]


def test_a_stored_mean_goes_on_counting_all_clients_in_the_row_of_a_class():
    assert upgraded({"aggregate": "mean"})["aggregate"] == "mean class-rows=all"
    assert upgraded({"aggregate": "mean class-rows=moved"})["aggregate"] == "mean class-rows=moved"
    assert RunConfig.from_flat({"aggregate": "mean"}).aggregate == "mean class-rows=moved"  # who writes it today


@pytest.mark.parametrize("key", ["local.beta1", "local.beta2"])
def test_whoever_writes_what_has_moved_reads_what_to_write(key):
    decay = key.rpartition(".")[2]
    with pytest.raises(ConfigError, match=rf"it is an option of the optimiser now: optimiser='adam {decay}=0.5'"):
        RunConfig.from_flat({key: 0.5})


@pytest.mark.parametrize(
    ("old", "means"),
    [
        ({"wire.compression": "none"}, ""),
        ({"wire.compression": "int8"}, "compress to=int8"),
        ({"algorithm": "server-generator penalty=1.0 clip=0.5 noise=0.0"}, "clip norm=0.5"),
        (
            {"algorithm": "server-generator clip=0.5 noise=0.1", "wire.compression": "float16"},
            "clip norm=0.5 | noise multiplier=0.1 | compress to=float16",
        ),
    ],
)
def test_what_was_done_to_updates_is_a_transform_now(old, means):
    config = RunConfig.from_flat(upgraded(old))
    assert config.transforms == means
    assert config.algorithm.startswith(old.get("algorithm", "fedavg").partition(" clip")[0].partition(" penalty")[0])
    assert ("penalty=1.0" in config.algorithm) == ("penalty=1.0" in old.get("algorithm", ""))


@pytest.mark.parametrize(
    ("value", "words"),
    [("int8", "it is a transform of updates now: transforms='compress to=int8'"), ("none", "leave it out")],
)
def test_whoever_writes_how_updates_were_compressed_reads_what_to_write(value, words):
    with pytest.raises(ConfigError, match=words):
        RunConfig.from_flat({"wire.compression": value})


@pytest.mark.parametrize(
    ("key", "value", "new", "means"),
    [
        ("local.discriminator-learning-rate", 0.5, "local.adversary-learning-rate", 0.5),
        ("evaluation.num-images", 700, "evaluation.num-samples", 700),
        ("evaluation.final-num-images", 700, "evaluation.final-num-samples", 700),
        ("evaluation.utility-num-images", 700, "evaluation.utility-num-samples", 700),
        ("weighting", "images", "weighting", "examples"),
    ],
)
def test_what_is_called_otherwise_now_is_read_in_old_runs_and_named_in_new_ones(key, value, new, means):
    assert upgraded({key: value}) == {new: means}
    with pytest.raises(ConfigError, match=rf"it is called '?{new if new != key else means}'? now"):
        RunConfig.from_flat({key: value})


def test_options_of_a_split_that_are_called_otherwise_now_are_read_in_old_runs_and_named_in_new_ones():
    old, new = "dirichlet images-per-client=30 min-images=2", "dirichlet examples-per-client=30 min-examples=2"
    expected = RunConfig.from_flat({"partition": new}).partition
    assert upgraded({"partition": old}) == {"partition": expected}
    within = upgraded({"partition": f"pooled of='{old}' clients=3"})["partition"]
    assert "images" not in within
    assert "examples-per-client=30" in within
    with pytest.raises(ConfigError, match="did you mean 'examples-per-client'"):
        RunConfig.from_flat({"partition": "dirichlet images-per-client=30"})


def test_counts_of_old_journals_and_summaries_have_the_names_of_today():
    made = {"extractor": "mnist-cnn", "num-images": 100, "utility-num-images": 400}
    old = {
        "round": 1,
        "images-seen": 64,
        "scored-with": made,
        "clients": [{"partition": 0, "num-examples": 8, "images": 8.0}],
        "seconds": {},
    }
    line, problems = run_files.journal_line(json.dumps(old).encode())
    assert not json_values.wrong(problems)
    assert line["examples-seen"] == 64
    assert line["scored-with"] == {"extractor": "mnist-cnn", "num-samples": 100, "utility-num-samples": 400}
    assert line["clients"][0]["examples"] == 8.0
    reported, problems = run_files.summary({"rounds": 1, "images-seen": 64, "scores": {}, "scored-with": made})
    assert (reported["examples-seen"], reported["scored-with"]["num-samples"], json_values.wrong(problems)) == (
        64,
        100,
        [],
    )
