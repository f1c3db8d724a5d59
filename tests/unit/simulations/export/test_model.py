"""Generators as files of other programs: what those programs make of them, and what the card tells."""

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from common.errors import CheckpointError, ConfigError, FedGANError
from common.examples.images import denormalise
from common.generation import balanced_labels, draw_noise, generate
from server.records import journal
from server.records.run_directory import RunDirectory
from simulations.export import model
from simulations.export.check import TOLERANCE, Agreement, Ruler, require_same
from simulations.export.export_requests import parse
from simulations.export.model import FORMATS, export_model
from simulations.export.to_safetensors import Safetensors, facts_in, load_generator
from simulations.runs.generator import load_trained

ENDINGS = {"onnx": "onnx", "torch-export": "pt2", "safetensors": "safetensors"}


def need(to):
    for module in FORMATS[to].needs:
        pytest.importorskip(module)


def export(run, trained, to, out, **options):
    return export_model(run, trained, out, parse(to, options))


@pytest.mark.parametrize(
    ("to", "precisions"),
    [
        ("onnx", ["float32", "int8"]),
        ("torch-export", ["float32", "float16"]),
        ("safetensors", ["float32", "float16", "int8"]),
    ],
)
def test_every_form_makes_the_runs_images_and_says_how_closely(to, precisions, run, trained, tmp_path):
    need(to)
    reported = export(run, trained, to, tmp_path / "out", precisions=precisions)
    assert reported == json.loads((tmp_path / "out" / "export.json").read_text())
    assert [row["precision"] for row in reported["files"]] == precisions
    noise, labels = draw_noise(33, (8,), 4), balanced_labels(33, 10)
    expected = trained.generator(noise, labels)
    for row in reported["files"]:
        content = (tmp_path / "out" / row["file"]).read_bytes()
        assert row["file"].endswith(f".{ENDINGS[to]}")
        assert row["bytes"] == len(content)
        assert row["sha256"] == hashlib.sha256(content).hexdigest()
        network = FORMATS[to]().read(content)
        for count in (1, 33):
            made = network(noise[:count], labels[:count])
            bound = TOLERANCE if row["precision"] == "float32" else 0.1
            assert float((made - expected[:count]).abs().max()) <= bound
        assert row["fid-loss"] == row["fid"] - reported["fid"]["own"]
    whole = reported["files"][0]
    largest = [row["agreement"]["largest"] for row in reported["files"]]
    assert whole["agreement"]["equal"] > 0.999
    assert largest == sorted(set(largest))  # fewer bytes, farther off
    assert abs(whole["fid-loss"]) < 0.01 * whole["fid"]


@pytest.mark.parametrize("to", ["onnx", "torch-export", "safetensors"])
def test_a_mixture_is_exported_as_one_network(to, mixed_run, tmp_path):
    need(to)
    trained = load_trained(mixed_run.path)
    reported = export(mixed_run, trained, to, tmp_path / "out", precisions=["float32"], fid_images=0)
    assert reported["files"][0]["agreement"]["equal"] > 0.999
    assert reported["files"][0]["fid"] is None
    assert "fid was not measured: fid-images is 0" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("to", ["onnx", "torch-export", "safetensors"])
def test_a_generator_without_labels_keeps_the_same_inputs(to, plain_run, tmp_path):
    need(to)
    trained = load_trained(plain_run.path)
    reported = export(plain_run, trained, to, tmp_path / "out", precisions=["float32"], fid_images=0)
    network = FORMATS[to]().read((tmp_path / "out" / reported["files"][0]["file"]).read_bytes())
    noise = draw_noise(5, (8,), 0)
    made = network(noise, torch.zeros(5, dtype=torch.int64))
    torch.testing.assert_close(made, trained.generator(noise, balanced_labels(5, 10)), atol=TOLERANCE, rtol=0)
    assert reported["labels-are-used"] is False
    assert "does not look at them" in (tmp_path / "out" / "README.md").read_text()


def test_the_card_of_a_flow_says_that_its_noise_is_as_large_as_an_image(make_run, tmp_path):
    flow = make_run("flow", model="unet width=16 steps=1 solver=euler", objective="flow-matching", local__steps=1)
    export(flow, load_trained(flow.path), "safetensors", tmp_path / "out", precisions=["float32"], fid_images=0)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "A class-conditional flow model, trained by" in card
    assert "`noise`: float32 (B, 1, 28, 28), drawn" in card
    assert "torch.randn(100, 1, 28, 28)" in card


def test_onnx_runs_as_the_card_says(run, trained, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    export(run, trained, "onnx", tmp_path / "out", precisions=["float32"], fid_images=0)
    monkeypatch.chdir(tmp_path / "out")
    names = {}
    exec((tmp_path / "out" / "README.md").read_text().split("```")[1].removeprefix("python"), names)
    assert names["pixels"].shape == (100, 1, 28, 28)
    assert names["pixels"].dtype == np.uint8


def test_the_reference_file_holds_what_must_come_of_the_latents(run, trained, tmp_path):
    export(run, trained, "safetensors", tmp_path / "out", precisions=["float32"], fid_images=0)
    with np.load(tmp_path / "out" / "reference.npz") as reference:
        made = load_generator(tmp_path / "out" / "generator.safetensors")(
            torch.from_numpy(reference["noise"]), torch.from_numpy(reference["labels"])
        )
        assert np.array_equal(denormalise(made).numpy(), reference["images"])
        assert np.array_equal(reference["images"], generate(trained.generator, balanced_labels(20, 10), 0).numpy())


def test_a_file_says_where_it_comes_from(run, trained, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    export(run, trained, "onnx", tmp_path / "a", precisions=["int8"], fid_images=0)
    export(run, trained, "safetensors", tmp_path / "b", precisions=["int8"], fid_images=0)
    stored = onnx.load(tmp_path / "a" / "generator-int8.onnx").metadata_props
    found = {entry.key: json.loads(entry.value) for entry in stored}
    assert found == facts_in((tmp_path / "b" / "generator-int8.safetensors").read_bytes())
    assert found["model-sha256"] == trained.digest == run.read_summary()["generator-sha256"]
    assert (found["run"], found["round"], found["precision"]) == ("digits", 1, "int8")


def test_the_card_has_data_split_clients_rounds_scores_privacy_and_licence(run, trained, tmp_path):
    export(run, trained, "safetensors", tmp_path / "out", precisions=["float32"], licence="CC-BY-4.0")
    card = (tmp_path / "out" / "README.md").read_text()
    scores = run.read_summary()["scores"]
    for words in (
        "license: cc-by-4.0",
        "mnist-10k",
        "shards examples-per-client=40 per-client=2",
        "3 clients with 40 images each, 120 in all",
        "| rounds | 1 of 1, 2 local steps of 8 images each |",
        f"| fid | {scores['fid']:.4g} |",
        "neither secure aggregation nor differential privacy",
        "**not measured** in this run",
        "CC-BY-4.0. Training data: LeCun",
        trained.digest,
    ):
        assert words in card


def test_the_card_says_whether_the_generator_takes_classes(run, plain_run, tmp_path):
    cards = {}
    for name, one in (("conditional", run), ("plain", plain_run)):
        export(one, load_trained(one.path), "safetensors", tmp_path / name, precisions=["float32"], fid_images=0)
        cards[name] = (tmp_path / name / "README.md").read_text()
    assert "A class-conditional GAN, trained by" in cards["conditional"]
    assert "unconditional" not in cards["conditional"]
    assert "pipeline_tag: unconditional-image-generation" in cards["plain"]
    assert "An unconditional GAN, trained by" in cards["plain"]


def test_the_card_names_the_classes_of_a_run_that_has_not_ended(run, trained, tmp_path):
    going = RunDirectory(shutil.copytree(run.path, tmp_path / "copy"))
    going.summary.unlink()
    names = [f"number {k}" for k in range(10)]
    going.partition.write_text(json.dumps(json.loads(going.partition.read_text()) | {"class-names": names}))
    export(going, load_trained(going.path), "safetensors", tmp_path / "out", precisions=["float32"], fid_images=0)
    assert ", ".join(names) in (tmp_path / "out" / "README.md").read_text()
    going.partition.unlink()
    export(going, load_trained(going.path), "safetensors", tmp_path / "bare", precisions=["float32"], fid_images=0)
    assert "0 to 9: 0, 1, 2," in (tmp_path / "bare" / "README.md").read_text()


def test_images_that_are_no_numbers_are_not_the_same():
    with pytest.raises(FedGANError, match="differ by nan"):
        require_same(Agreement(1, float("nan"), 0.0), "generator.onnx")


def test_held_out_images_of_another_shape_measure_nothing(trained):
    other = replace(trained, spec=replace(trained.spec, size=32))
    ruler = Ruler(other, 100)
    assert ruler.measure() == {"fid": None}
    assert "the generator makes 32x32 images with 1 channel" in ruler.reason


def test_the_card_has_the_scores_of_the_round_that_it_is_of(make_run, tmp_path):
    run = make_run("twice", federation__num_rounds=2, evaluation__every=1)
    first = load_trained(run.path, 1)
    export(run, first, "safetensors", tmp_path / "out", precisions=["float32"], fid_images=0)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Measured after round 1: features of mnist-cnn, 100 generated images." in card
    assert f"| fid | {journal.read(run.journal)[0]['scores']['fid']:.4g} |" in card


def test_an_export_that_differs_is_refused_and_nothing_is_left(run, trained, tmp_path, monkeypatch):
    class Wrong(Safetensors):
        def read(self, content):
            network = super().read(content)
            return lambda noise, labels: network(noise, labels) + 2 * TOLERANCE

    monkeypatch.setitem(model.FORMATS, "safetensors", Wrong)
    with pytest.raises(FedGANError, match=r"generator.safetensors was not written: its images differ by 0.0002"):
        export(run, trained, "safetensors", tmp_path / "out", fid_images=0)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_refused_by_its_value(run, trained, tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    for to, out, options, words in (
        ("onnxx", "a", {}, "to='onnxx': onnx, torch-export, safetensors, or dataset"),
        ("safetensors", "a", {"precisions": ["int4"]}, "precisions=('int4',): one or more of float32, float16, int8"),
        ("safetensors", "a", {"precisions": []}, "precisions=[]: one or more"),
        ("safetensors", "a", {"fid_images": 5}, "fid_images=5: 100 or more"),
        ("safetensors", "full", {}, "is there already: name a new folder"),
    ):
        with pytest.raises(ConfigError) as caught:
            export(run, trained, to, tmp_path / out, **options)
        assert words in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
    monkeypatch.setattr(FORMATS["onnx"], "needs", ("no_such_module",))
    with pytest.raises(ConfigError, match=r"onnx needs no_such_module .*pip install 'fedgan\[onnx\]'"):
        export(run, trained, "onnx", tmp_path / "a")


def test_a_torn_or_foreign_safetensors_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="missing.safetensors"):
        load_generator(tmp_path / "missing.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(CheckpointError, match="torn.safetensors is not a whole file"):
        load_generator(tmp_path / "torn.safetensors")
