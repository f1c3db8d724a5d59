"""``fedgan data`` and what comes of it: ready means that a run can start; what no client has is never drawn."""

import json
import re
import shlex

import numpy as np
import pytest
from PIL import Image

from common.config import RunConfig
from common.errors import ConfigError
from server.records.run_directory import RunDirectory
from simulations import api
from simulations.commands import main
from simulations.runtime import in_process, launch
from simulations.runtime.settings import read_overrides
from simulations.serve.generate_requests import GenerateRequest
from simulations.serve.library import Library
from simulations.serve.models import Models
from simulations.serve.sampling import draw
from simulations.serve.summaries import summary_of
from tests.conftest import SMALL

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 28, 28), np.uint8)
LABELS = np.arange(40) % 3 + 1


def fedgan(*arguments, capsys):
    """Runs the command in this process; returns exit code, stdout, stderr."""
    code = main._run([str(argument) for argument in arguments], debug=False)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def written(tmp_path, **arrays):
    np.savez(tmp_path / "site.npz", **arrays)
    return tmp_path / "site.npz"


@pytest.mark.parametrize(
    ("arrays", "options"),
    [
        ({"images": IMAGES, "labels": LABELS}, []),
        ({"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:5], "y_test": LABELS[:5]}, []),
        ({"images": IMAGES}, []),
        ({"images": IMAGES[:, :20], "labels": LABELS}, ["--image-size", 28]),
        ({"images": IMAGES[:2]}, ["-c", "federation.num-clients=1"]),
    ],
)
def test_what_is_ready_starts_with_the_command_that_is_printed(tmp_path, capsys, arrays, options):
    path = written(tmp_path, **arrays)
    code, out, err = fedgan("data", "npz", "--root", path, *options, capsys=capsys)
    assert (code, err) == (0, "")
    assert f"npz {path}: " in out
    command, dash, settings = shlex.split(out.rpartition("ready: fedgan ")[2])
    assert (command, dash) == ("simulate", "-c")
    launch.check(launch.resolve(None, read_overrides([settings]))[0])  # as a run does before its first round


@pytest.mark.parametrize(
    ("arrays", "options", "words"),
    [
        ({"images": IMAGES[:, :20]}, [], "not square; set data.image-size"),
        ({"images": IMAGES[:, :20, :20]}, [], "dcgan makes 28x28, 32x32, 64x64 images, the data has 20x20"),
        ({"images": IMAGES, "x_test": IMAGES[:5, :20, :20]}, [], "data.image-size"),
        ({"images": IMAGES / 255}, [], "npz range=0,1"),
        ({"images": IMAGES, "labels": LABELS * 10**9}, [], "3 distinct ones"),
        ({"images": IMAGES[:9]}, [], "7 examples cannot be shared by 10 clients.*federation.num-clients=7"),
        ({"images": IMAGES[:19], "labels": LABELS[:19]}, [], "20 shards of only 15 examples.*num-clients=7 or fewer"),
        ({"images": IMAGES}, ["-c", 'partition="shards"'], 'site.npz has none: set partition="iid"'),
        ({"images": IMAGES}, ["-c", 'evaluation.extractor="mnist-cnn" data.image-size=32'], "mnist-cnn"),
        ({"weights": IMAGES}, [], "holds weights"),
    ],
)
def test_what_a_run_would_refuse_is_not_ready(tmp_path, capsys, arrays, options, words):
    path = written(tmp_path, **arrays)
    code, out, err = fedgan("data", "npz", "--root", path, *options, capsys=capsys)
    assert code == 2
    assert "ready" not in out
    assert re.search(words, err)


def test_a_list_of_data_sets_does_not_promise_what_was_not_read(tmp_path, capsys):
    path = written(tmp_path, images=IMAGES[:, :20])
    code, out, err = fedgan("data", "--root", path, capsys=capsys)
    assert code == 0
    assert f"there, not checked: {path}" in out
    assert "fedgan data NAME" in err


def test_a_split_of_many_classes_is_a_table_that_can_be_read(tmp_path, capsys):
    path = written(tmp_path, images=np.repeat(IMAGES, 3, axis=0), labels=np.arange(120) % 40)
    settings = f'data.name="npz" data.root="{path}" federation.num-clients=3'
    code, out, _ = fedgan("partition", "-c", settings, capsys=capsys)
    assert code == 0
    assert "classes held" in out
    assert " of 40" in out
    assert max(map(len, out.splitlines())) < 120


def trained_on(folder, **arrays):
    settings = SMALL | {
        "data.name": "npz",
        "data.root": str(written(folder, **arrays)),
        "partition": "iid",
        "federation.num-clients": 2,
        "federation.num-rounds": 1,
        "output.dir": str(folder / "run"),
    }
    in_process.simulate(RunConfig.from_flat(settings))
    return RunDirectory(folder / "run")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Returns the directory of a run on three classes, counted from 1: no client has an image of class 0."""
    return trained_on(tmp_path_factory.mktemp("lacking"), images=IMAGES, labels=LABELS)


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory):
    """Returns the directory of a run on images without labels, of a model that could take some."""
    return trained_on(tmp_path_factory.mktemp("unlabelled"), images=IMAGES)


def test_a_class_that_nobody_has_is_never_drawn(run, tmp_path, capsys):
    assert fedgan("generate", run.path, "--num", 7, "--balanced", "--out", tmp_path / "a.npz", capsys=capsys)[0] == 0
    assert np.load(tmp_path / "a.npz")["labels"].tolist() == [1, 2, 3, 1, 2, 3, 1]
    export = ("export", run.path, "--to", "dataset", "--layout", "npz", "--num", 9, "--out", tmp_path / "set")
    assert fedgan(*export, capsys=capsys)[0] == 0
    assert json.loads((tmp_path / "set" / "dataset.json").read_text())["label-counts"]["train"][0] == 0
    with Image.open(run.sample(1)) as picture:
        assert set(json.loads(picture.text["fedgan"])["labels"]) == {1, 2, 3}
    images = api.load(run.path).generate(5)
    assert images.labels.tolist() == [1, 2, 3, 1, 2]
    assert images.columns == 3


def test_a_class_that_nobody_has_is_refused_by_name(run, tmp_path, capsys):
    words = "the generator knows 1, 2, 3, as no client had images of class 0"
    code, _, err = fedgan("generate", run.path, "--label", 0, "--out", tmp_path / "a.npz", capsys=capsys)
    assert code == 2
    assert f"--label 0; {words}" in err
    with pytest.raises(ConfigError, match=words):
        api.load(run.path).generate(2, [1, 0])
    network = Models().get(Library(run.path).get("run"), "last", None)
    with pytest.raises(ConfigError, match=words):
        draw(GenerateRequest.model_validate({"labels": [0]}), network)


def test_a_server_reports_which_classes_are_drawn(run):
    record = Library(run.path).get("run")
    shown_images = summary_of(record.view()).images
    assert (shown_images.classes, shown_images.drawn, shown_images.conditional) == (4, [1, 2, 3], True)
    network = Models().get(record, "last", None)
    balanced = GenerateRequest.model_validate({"num": 4, "labels": "balanced"})
    assert draw(balanced, network).labels.tolist() == [1, 2, 3, 1]


def test_images_without_labels_go_all_the_way_without_labels(unlabelled, tmp_path, capsys):
    assert fedgan("generate", unlabelled.path, "--num", 4, "--out", tmp_path / "a.npz", capsys=capsys)[0] == 0
    assert np.load(tmp_path / "a.npz")["labels"].tolist() == [-1] * 4
    for option in (["--balanced"], ["--label", 0]):
        code, _, err = fedgan("generate", unlabelled.path, *option, "--out", tmp_path / "b.npz", capsys=capsys)
        assert code == 2
        assert "not conditional" in err
    export = ("export", unlabelled.path, "--to", "dataset", "--layout", "npz", "--num", 9, "--out", tmp_path / "set")
    assert fedgan(*export, capsys=capsys)[0] == 0
    assert "labels" not in np.load(tmp_path / "set" / "train.npz").files
    assert '["labels"]' not in (tmp_path / "set" / "README.md").read_text()
    assert fedgan("report", unlabelled.path, capsys=capsys)[0] == 0
    shown_images = summary_of(Library(unlabelled.path).get("run").view()).images
    assert (shown_images.classes, shown_images.drawn, shown_images.conditional) == (1, [0], False)


@pytest.mark.parametrize(("sources", "split"), [(1, ("iid", 10)), (3, ("by-source", 3))])
def test_text_is_tried_with_the_preset_for_text(tmp_path, capsys, sources, split):
    for name in "abc"[:sources]:
        (tmp_path / f"{name}.txt").write_text("some words\n\n" * 50)
    code, out, err = fedgan("data", "text-folder context=16", "--root", tmp_path, capsys=capsys)
    assert (code, err) == (0, "")
    what = "held-out rows of text, 17 characters each, of 8 different ones, no labels"
    assert f" {what}\n  {sources} source{'s' * (sources > 1)}: a.txt" in out
    command, preset, dash, settings = shlex.split(out.rpartition("ready: fedgan ")[2])
    assert (command, preset, dash) == ("simulate", "shakespeare", "-c")
    config, _ = launch.resolve(preset, read_overrides([settings]))
    launch.check(config)
    assert (config.partition.partition(" ")[0], config.federation.num_clients) == split
    assert config.federation.fraction == 1.0


def test_a_split_by_source_names_the_source_of_each_client(tmp_path, capsys):
    for name in ("[red]", "blue"):
        (tmp_path / f"{name}.txt").write_text("some words\n\n" * 50)
    settings = f'data.name="text-folder" data.root="{tmp_path}" federation.num-clients=2'
    code, out, _ = fedgan("partition", "shakespeare", "-c", settings, capsys=capsys)
    assert (code, "[red].txt" in out, "rows" in out, "images" in out) == (0, True, True, False)
    code, out, _ = fedgan("partition", "shakespeare", "-c", settings, "--json", capsys=capsys)
    assert [client["site"] for client in json.loads(out)["clients"]] == ["[red].txt", "blue.txt"]


def test_data_given_twice_are_refused_where_they_differ(tmp_path, capsys):
    path = written(tmp_path, images=IMAGES / 255, labels=LABELS)
    command = ("data", "npz", "--root", path, "-c", 'data.name="npz range=0,1"')
    code, _, err = fedgan(*command, capsys=capsys)
    assert (code, "NAME says 'npz', and -c data.name='npz range=0,1'" in err) == (2, True)
    assert fedgan("data", "npz range=0,1", "--root", path, "-c", 'data.name="npz range=0,1"', capsys=capsys)[0] == 0


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("", "image-folder"),
        ("site.npz", "npz"),
        ("notes", "text-folder"),
        ("notes/a.txt", "text-folder"),
        ("lines", "jsonl"),
        ("lines/a.jsonl", "jsonl"),
    ],
)
def test_a_place_in_the_name_s_place_gets_the_command(tmp_path, capsys, place, kind):
    path = written(tmp_path, images=IMAGES, labels=LABELS).parent / place
    for text in ("notes/a.txt", "notes/b.md", "notes/c.jsonl", "lines/a.jsonl") if place else ():
        (tmp_path / text).parent.mkdir(exist_ok=True)
        (tmp_path / text).touch()
    code, _, err = fedgan("data", path, capsys=capsys)
    assert (code, f"fedgan data {kind} --root {shlex.quote(str(path))}" in err) == (2, True)


def test_a_plot_goes_into_a_new_folder_but_never_in_a_folder_s_place(tmp_path, capsys):
    path = written(tmp_path, images=IMAGES, labels=LABELS)
    command = (
        "partition",
        "-c",
        f"data.name='npz' data.root='{path}' federation.num-clients=2",
        "--overwrite",
        "--plot",
    )
    assert fedgan(*command, tmp_path / "new" / "split.png", capsys=capsys)[0] == 0
    code, _, err = fedgan(*command, tmp_path, capsys=capsys)
    assert (code, err) == (2, f"error: --plot {str(tmp_path)!r} is a folder: name a file in it\n")


def test_an_equals_sign_alone_is_no_advice_to_start():
    with pytest.raises(ConfigError, match="-c KEY=VALUE$"):
        read_overrides(["="])
