"""A run's generator made smaller: what a student learns, what is refused, and that all commands take the result."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from common.components import parse
from common.errors import ConfigError, OtherRunError
from common.generation import balanced_labels, draw_noise
from common.models import MODELS
from server import checkpoint
from server.records import journal
from server.records.run_directory import RunDirectory
from simulations.api import load
from simulations.commands.main import _run
from simulations.compression import compress as module
from simulations.compression.compress import Compression, compress
from simulations.compression.pruning import masks_of
from simulations.compression.student import make_student
from simulations.export import card
from simulations.runs.generator import load_trained
from simulations.runs.run_reader import RunReader
from simulations.runs.status import state_of


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    monkeypatch.setattr(module, "write_report", lambda run: run.report)


@pytest.fixture(scope="module")
def small(run, tmp_path_factory):
    """Of the run: half the width, a quarter of the weights pruned."""
    out = tmp_path_factory.mktemp("small") / "small"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "write_report", lambda run: run.report)
        said = []
        summary = compress(run.path, out, Compression(to="width=8", prune=0.25, steps=600), tell=said.append)
    return RunDirectory(out), summary, said


def difference(one, other, num=64):
    noise, labels = draw_noise(num, one.generator.noise_shape, 3), balanced_labels(num, 10)
    with torch.inference_mode():
        return float((one.generator(noise, labels) - other.generator(noise, labels)).abs().mean())


def test_a_student_comes_to_make_what_its_teacher_makes_of_the_same_noise(run, small, tmp_path):
    compress(run.path, tmp_path / "untaught", Compression(to="width=8", steps=0))
    teacher = load_trained(run.path)
    assert difference(load_trained(small[0].path), teacher) < 0.5 * difference(
        load_trained(tmp_path / "untaught"), teacher
    )


def test_a_student_begins_with_the_first_channels_of_its_teacher(run):
    trained = load_trained(run.path)
    student = make_student(trained, "width=8", 0.0, 0)
    teacher = trained.generator.state_dict()
    smaller = 0
    for key, value in student.sampler.state_dict().items():
        assert torch.equal(value, teacher[key][tuple(slice(size) for size in value.shape)])
        smaller += value.shape != teacher[key].shape
    assert smaller


def test_the_same_seed_gives_the_same_weights(run, tmp_path):
    digests = [
        compress(run.path, tmp_path / str(k), Compression(to="width=8", steps=3, seed=seed))["weights-sha256"]
        for k, seed in enumerate((1, 1, 2))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_what_is_pruned_stays_zero(small):
    networks = load_trained(small[0].path).generator
    matrices = [value for value in networks.parameters() if value.ndim > 1]
    for value in matrices:
        assert int((value == 0).sum()) == int(0.25 * value.numel())
    made = small[1]["compressed"]
    assert made["after"]["zero"] >= sum(int(0.25 * value.numel()) for value in matrices)
    assert made["after"]["weights"] < made["before"]["weights"]
    assert made["after"]["packed-bytes"] < made["after"]["bytes"] < made["before"]["bytes"]


def test_the_smallest_weights_of_each_matrix_go_and_no_bias():
    network = torch.nn.Linear(2, 2)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[0.1, -3.0], [-0.2, 0.05]]))
    masks = masks_of({"it": network}, 0.5)
    assert {key: mask.tolist() for key, mask in masks.items()} == {"it.weight": [[False, True], [True, False]]}
    assert masks_of({"it": network}, 0.0) == {}


def test_pruning_alone_begins_with_the_trained_weights(run, tmp_path):
    compress(run.path, tmp_path / "pruned", Compression(prune=0.25, steps=0))
    before, after = (load_trained(path).generator.state_dict() for path in (run.path, tmp_path / "pruned"))
    for key, value in after.items():
        assert torch.equal(value[value != 0], before[key][value != 0])


def test_a_mixture_becomes_one_generator_of_its_own_model(mixed_run, tmp_path):
    summary = compress(mixed_run.path, tmp_path / "one", Compression(steps=5))
    before, after = summary["compressed"]["before"], summary["compressed"]["after"]
    assert after["weights"] * 3 == before["weights"]
    assert load_trained(tmp_path / "one").config.model == mixed_run.read_config().model
    with pytest.raises(ConfigError, match="nothing to do"):  # one client's own is no mixture
        compress(tmp_path / "one", tmp_path / "two", Compression())


def test_the_result_says_where_it_comes_from(run, small):
    folder, summary, said = small
    parent, made = load_trained(run.path), load_trained(folder.path)
    assert folder.read_summary()["compressed"] == json.loads(json.dumps(summary["compressed"]))
    assert summary["compressed"]["from"]["model-sha256"] == parent.digest
    assert summary["generator-sha256"] == made.digest != parent.digest
    facts = made.origin("small", 0)
    assert "run digits, round 1" in facts["compressed-from"]
    assert parent.digest in facts["compressed-from"]
    assert "compressed-from" not in parent.origin("digits", 0)
    assert card.facts(folder, made)["compressed-from"] == facts["compressed-from"]
    assert "| compressed | without data, from run digits" in "\n".join(card.training(folder, made))
    assert "| compressed |" not in "\n".join(card.training(run, parent))
    (event,) = [line for line in journal.events(folder.journal) if line["event"] == "compressed"]
    assert "25% of the weights pruned" in event["reason"]
    assert folder.read_partition() == run.read_partition()
    assert folder.sample(1).exists()
    assert "600 of 600 steps" not in said[0]
    assert said[-1] == "scoring"


def test_readers_of_runs_take_it_for_a_finished_one(small):
    state, words = state_of(RunReader("small", small[0]).view())
    assert state == "finished"
    assert words.startswith("A compressed generator: mlp")
    assert "width=8, 25% of the weights pruned, made from run digits, round 1" in words


def test_it_is_not_trained_further(run, small):
    found = checkpoint.latest(small[0].checkpoints)
    config = small[0].read_config()
    with pytest.raises(OtherRunError, match=r"not trained further: resume .* \(run digits, round 1"):
        checkpoint.require_same_run(found, config, found.roster)
    whole = checkpoint.latest(run.checkpoints)
    checkpoint.require_same_run(whole, run.read_config(), whole.roster)


def test_it_can_be_generated_from_evaluated_and_compressed_again(small, tmp_path, capsys):
    path = str(small[0].path)
    assert _run(["generate", path, "--num", "10", "--out", str(tmp_path / "made.npz")], debug=True) == 0
    assert _run(["evaluate", path, "--num", "100", "--metrics", "score", "--json"], debug=True) == 0
    out = str(tmp_path / "smaller")
    arguments = ["compress", path, "--to", "width=4", "--steps", "2", "--out", out, "--json"]
    assert _run(arguments, debug=True) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["compressed"]["from"]["run"] == "small"
    assert said["run"] == out


def test_a_notebook_gets_the_run_that_was_made(run, tmp_path):
    made = load(run.path).compress(tmp_path / "made", to="width=8", steps=2)
    assert made.path == tmp_path / "made"
    assert made.summary["compressed"]["steps"] == 2
    assert len(made.generate(10)) == 10
    with pytest.raises(ConfigError, match="did you mean 'prune'"):
        load(run.path).compress(tmp_path / "other", prun=0.5)


def test_what_is_promised_of_the_examples_goes_along(run, tmp_path):
    private = RunDirectory(shutil.copytree(run.path, tmp_path / "private"))
    promise = "example epsilon=10.0 delta=1e-05"
    private.privacy.write_text("{}\n")
    found = checkpoint.latest(private.checkpoints)
    config = private.read_config().replaced({"privacy": promise, "evaluation.federated": False})
    private.config.write_text(config.toml())
    checkpoint.save_checkpoint(private.checkpoints, replace(found, config=config.identity()), keep=1)
    compress(private.path, tmp_path / "small", Compression(to="width=8", steps=1))
    assert (tmp_path / "small" / "privacy.jsonl").read_text() == "{}\n"
    assert load_trained(tmp_path / "small").origin("small", 0)["privacy"].startswith("example epsilon=10")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "widht=8"}, "did you mean 'width'"),
        ({"to": "dcgan width=8"}, "the student is a mlp"),
        ({"to": "width=16"}, "weights, and this run's has"),
        ({"to": "width=32"}, "choose a smaller one"),
        ({"to": "width=many"}, "width"),
        ({"to": "latent-size=4"}, "noise of shape"),
        ({"to": "conditional=false"}, "leave conditional out"),
        ({}, "nothing to do"),
    ],
)
def test_what_cannot_be_a_student_is_refused(options, message, run, tmp_path):
    with pytest.raises(ConfigError, match=message):
        compress(run.path, tmp_path / "out", Compression(**options))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("model", "message"), [("unet", "several times"), ("class-gaussians", "computed from moments")]
)
def test_kinds_without_a_map_in_one_pass_are_refused(model, message, run):
    trained = load_trained(run.path)
    config = SimpleNamespace(model_component=parse("model", MODELS, model))
    with pytest.raises(ConfigError, match=message):
        make_student(replace(trained, config=config), "width=8", 0.0, 0)


def test_texts_are_refused(run):
    trained = replace(load_trained(run.path), spec=SimpleNamespace(kind="text"))
    with pytest.raises(ConfigError, match="character by character"):
        make_student(trained, "width=8", 0.0, 0)


def test_shares_out_of_range_and_folders_that_are_there_are_refused(run, tmp_path):
    with pytest.raises(ConfigError, match="prune=1"):
        Compression.of({"prune": 1.0})
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    for out in (tmp_path / "there", run.path / "inside"):
        with pytest.raises(ConfigError, match=r"there already|run directory"):
            compress(run.path, out, Compression(to="width=8"))
