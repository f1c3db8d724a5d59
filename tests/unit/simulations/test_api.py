"""fedgan from Python, as a notebook uses it."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from rich import console

import simulations
from common.components import explain
from common.errors import ConfigError
from server.records.run_directory import RunDirectory
from server.records.tracking import tracker_sync
from simulations import load
from simulations.commands import main
from simulations.runs import provenance
from simulations.runtime import in_process
from simulations.serve.generate_requests import GenerateRequest

pytestmark = pytest.mark.usefixtures("no_reports")

SETTINGS = {
    "model": "mlp width=16 latent-size=8",
    "partition": "shards per-client=2 examples-per-client=40",
    "federation.num-clients": 3,
    "federation.num-rounds": 2,
    "local.steps": 1,
    "local.batch-size": 8,
    "evaluation.num-samples": 100,
    "evaluation.final-num-samples": 100,
    "evaluation.federated": False,
    "evaluation.utility-num-samples": 0,
}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return simulations.run("quickstart", SETTINGS, seed=1, out=tmp_path_factory.mktemp("api") / "mine", quiet=True)


@pytest.mark.slow
def test_the_package_is_cheap_to_import_and_knows_its_names():
    code = "import simulations, sys; print('torch' in sys.modules, callable(simulations.run), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True"]
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        simulations.train  # noqa: B018


def test_a_run_is_that_of_the_command_line(result, tmp_path):
    options = " ".join(f"{k}={v!r}" if isinstance(v, str) else f"{k}={str(v).lower()}" for k, v in SETTINGS.items())
    other = tmp_path / "other"
    assert main._run(["simulate", "quickstart", "--out", str(other), "-c", f"{options} seed=1"], debug=False) == 0
    assert load(other).summary["weights-sha256"] == result.summary["weights-sha256"]
    assert result.config.seed == 1
    assert [line["round"] for line in result.journal] == [1, 2]
    assert result.scores["fid"] > 0


def test_images_are_those_of_the_command_line_and_the_same_each_time(result, tmp_path):
    assert main._run(
        ["generate", str(result.path), "--num", "23", "--seed", "5", "--out", str(tmp_path / "a.npz")], debug=False
    ) == 0  # fmt: skip
    images = result.generate(23, seed=5)
    with np.load(tmp_path / "a.npz") as arrays:
        assert np.array_equal(arrays["images"], images.pixels)
        assert np.array_equal(arrays["labels"], images.labels)
    assert provenance.read(tmp_path / "a.npz") == {**images.origin, "number": 23}
    assert np.array_equal(np.asarray(result.generate(23, seed=5)), images.pixels)
    assert not np.array_equal(result.generate(23, seed=6).pixels, images.pixels)
    assert not np.array_equal(result.generate(23, seed=5, round=1).pixels, images.pixels)


def test_labels_are_one_for_all_or_one_each(result):
    assert result.generate(3, 7).labels.tolist() == [7, 7, 7]
    assert result.generate(labels=[1, 2]).labels.tolist() == [1, 2]
    assert result.generate(12).labels.tolist() == [*range(10), 0, 1]
    assert np.array_equal(result.generate(labels=[0, 1]).pixels, result.generate(2).pixels)


def test_a_notebook_shows_images_as_one_picture_that_says_where_it_comes_from(result, tmp_path):
    images = result.generate(64)
    (tmp_path / "shown.png").write_bytes(images._repr_png_())
    with Image.open(tmp_path / "shown.png") as picture:
        assert picture.size == (2 * (10 * 30 + 2), 2 * (7 * 30 + 2))
        shown = np.asarray(picture)[::2, ::2]
    assert np.array_equal(shown[2:30, 32:60], images.pixels[1])
    facts = provenance.read(tmp_path / "shown.png")
    assert (facts["run"], facts["number"], facts["model-sha256"]) == (
        "mine", 64, result.summary["generator-sha256"]
    )  # fmt: skip
    assert repr(images) == "<64 images, 28x28, of round 2 of 'mine'>"
    with Image.open(io.BytesIO(images[3]._repr_png_())) as one:
        assert one.size == (64, 64)
    assert images[:0]._repr_png_() is None
    with Image.open(io.BytesIO(result.generate(420)._repr_png_())) as most:
        assert most.size == (2 * (10 * 30 + 2), 2 * (40 * 30 + 2))  # the first 400


def test_images_are_picked_as_an_array_is(result):
    images = result.generate(20)
    assert len(images[5]) == 1
    assert images[2:4].labels.tolist() == [2, 3]
    sevens = images[images.labels == 7]
    assert sevens.labels.tolist() == [7, 7]
    with pytest.raises(IndexError):
        images[99]
    with pytest.raises(IndexError, match="None: one index"):
        images[None]
    assert np.array_equal(sevens.pixels[1], images.pixels[17])


def test_a_notebook_shows_a_run_with_scores_and_samples(result):
    page = result._repr_html_()
    assert page.count("<img ") == 3  # rounds 0, 1 and 2
    assert f"<b>{result.scores['fid']:.3g}</b><br>FID" in page
    assert "3 clients, mnist-10k" in page
    assert "2 of 2 rounds" in page
    assert repr(result).endswith(f"2 of 2 rounds, fid {result.scores['fid']:.4g} (mnist-cnn, 100 images)>")
    assert "<p>features of mnist-cnn, 100 generated images</p>" in page
    assert result.scored_with == {"extractor": "mnist-cnn", "num-samples": 100}


def test_images_are_saved_by_ending_and_each_says_where_it_comes_from(result, tmp_path):
    folder = result.generate(labels=[4, 5], seed=3).save(tmp_path / "some")
    assert [path.name for path in sorted(folder.iterdir())] == ["00000-label-4.png", "00001-label-5.png"]
    facts = provenance.read(folder / "00001-label-5.png")
    assert (facts["label"], facts["index"], facts["seed"], facts["round"]) == (5, 1, 3, 2)
    with pytest.raises(ConfigError, match="a.gif"):
        result.generate(2).save(tmp_path / "a.gif")


def test_a_run_goes_on_from_python(result, tmp_path):
    first = simulations.run("quickstart", SETTINGS | {"local.schedule": "constant"}, out=tmp_path / "r", quiet=True)
    assert len(first.generate(1)) == 1
    more = simulations.run(settings={"federation.num-rounds": 3}, out=tmp_path / "r", resume=True, quiet=True)
    assert [line["round"] for line in more.journal] == [1, 2, 3]
    assert first.generate(1).origin["round"] == 3  # the newer checkpoint


def test_export_is_that_of_the_command(result, tmp_path):
    reported = result.export("dataset", tmp_path / "set", layout="npz", num=20, seed=2, validation=0.5, licence="MIT")
    assert (reported["train"], reported["validation"], reported["seed"]) == (10, 10, 2)
    assert "license: mit" in (tmp_path / "set" / "README.md").read_text()
    reported = result.export("safetensors", tmp_path / "net", round=1, precisions=["int8"], fid_images=0)
    assert (reported["round"], [row["file"] for row in reported["files"]]) == (1, ["generator-int8.safetensors"])


def test_what_cannot_be_is_refused_by_its_value(result, tmp_path):
    for call, words in (
        (lambda: simulations.run("quikstart"), "'quikstart': no such preset"),
        (
            lambda: simulations.run(settings={"local.steps": "3"}, out=tmp_path / "x"),
            "local.steps='3': expected a whole",
        ),
        (
            lambda: simulations.run(settings={"local.steps": 2.0}, out=tmp_path / "x"),
            "local.steps=2.0: expected a whole",
        ),
        (lambda: simulations.run(seed="1", out=tmp_path / "x"), "seed='1': expected a whole number"),
        (lambda: simulations.run(settings={"local.step": 1}, out=tmp_path / "x"), "local.step=1: no such key"),
        (lambda: simulations.run(resume=True), "resume=True needs out=DIR"),
        (lambda: simulations.run(out=result.path), "holds a run already"),
        (lambda: load(tmp_path / "none"), "is not a run directory"),
        (
            lambda: simulations.run(workers=0, out=tmp_path / "x"),
            "workers=0: Input should be greater than or equal to 1",
        ),
        (lambda: simulations.run(workers="2", out=tmp_path / "x"), "workers='2': Input should be a valid integer"),
        (lambda: simulations.run(engine="gpu", out=tmp_path / "x"), "engine='gpu': Input should be 'auto', "),
        (lambda: simulations.run(5), "preset=5: Input should be a valid string"),
        (lambda: simulations.run(settings="seed=1"), "settings='seed=1': Input should be a valid dictionary"),
        (lambda: simulations.run(seed=-1, out=tmp_path / "x"), "seed=-1: Input should be greater than or equal to 0"),
        (lambda: simulations.run(out=5), "out=5: the path of a file or folder"),
        (lambda: load(None), "path=None: the path of a file or folder"),
        (lambda: result.generate(0), "num=0: Input should be greater than or equal to 1"),
        (lambda: result.generate(10**9), "num=1000000000: Input should be less than or equal to 10000000"),
        (lambda: result.generate(2.5), "num=2.5: Input should be a valid integer"),
        (lambda: result.generate(labels=[1.7, 2]), "labels=[1.7, 2]: whole numbers"),
        (lambda: result.generate(labels="seven"), "labels='seven': a class, or a sequence"),
        (lambda: result.generate(labels=True), "labels=True: whole numbers"),
        (lambda: result.generate(labels=2**70), f"labels={2**70}: whole numbers"),
        (lambda: result.generate(round="last"), "round='last': a number, or 'best'"),
        (lambda: result.generate(round=[1]), "round=[1]: a number, or 'best'"),
        (lambda: result.generate(round=True), "round=True: a number, or 'best'"),
        (lambda: result.generate(client=False), "client=False: a client's number"),
        (lambda: result.generate(client="0"), "client='0': a client's number"),
        (
            lambda: result.generate(client=0),
            "client=0: no generator of its own in the checkpoint of round 2; all share",
        ),
        (lambda: result.generate(2, 10), "10 is no class; the generator knows 0 to 9"),
        (lambda: result.generate(labels=[[1]]), "labels=[[1]]: a class, or a sequence"),
        (lambda: result.generate(round=9), "no checkpoint of round 9"),
        (lambda: result.generate(seed=1.5), "seed=1.5: Input should be a valid integer"),
        (lambda: result.generate(2).picture(0), "columns=0: Input should be greater than or equal to 1"),
        (result.generate(2)[:0].picture, "there is no image"),
        (lambda: result.generate(2)[:0].save(tmp_path / "x.png"), "there is no image"),
        (lambda: result.generate(2).save(None), "path=None: the path of a file or folder"),
        (lambda: result.export("onyx", tmp_path / "x"), "to='onyx': onnx, torch-export, safetensors, or dataset"),
        (lambda: result.export("safetensors", tmp_path / "x", nm=3), "nm=3: no such option; known: "),
        (lambda: result.export("safetensors", None), "out=None: the path of a file or folder"),
    ):
        with pytest.raises(ConfigError) as caught:
            call()
        assert words in str(caught.value)
        assert "--" not in str(caught.value)  # no option of the command line


def test_seeds_have_the_range_and_the_words_that_they_have_over_http(result):
    for seed in (-1, 2**63, 2**64):
        with pytest.raises(ConfigError) as caught:
            result.generate(2, seed=seed)
        with pytest.raises(ValidationError) as over_http:
            GenerateRequest(seed=seed)
        assert str(caught.value) == explain(over_http.value)
    assert len(result.generate(2, seed=2**63 - 1)) == 2


def test_numbers_of_numpy_are_numbers(result, tmp_path):
    given = result.generate(np.int64(3), np.int64(7), seed=np.int64(5), round=np.int64(1))
    assert np.array_equal(given.pixels, result.generate(3, 7, seed=5, round=1).pixels)
    reported = result.export("dataset", tmp_path / "set", layout="npz", num=np.int32(4), validation=np.float64(0.5))
    assert (reported["train"], reported["validation"]) == (2, 2)
    with pytest.raises(ConfigError, match=r"seed=-3: "):
        simulations.run(settings={"seed": np.int64(-3)})


def test_precisions_are_listed_as_on_the_command_line_too(result, tmp_path):
    reported = result.export("safetensors", tmp_path / "net", precisions="int8, float32,int8", fid_images=0)
    assert [row["precision"] for row in reported["files"]] == ["int8", "float32"]


def test_a_quiet_run_says_nothing_and_later_ones_say_everything_once(tmp_path, capfd):
    settings = SETTINGS | {"federation.num-rounds": 1}
    simulations.run(settings=settings, out=tmp_path / "quiet", quiet=True)
    assert "round 1/1" not in capfd.readouterr().err
    simulations.run(settings=settings, out=tmp_path / "loud")
    assert capfd.readouterr().err.count("round 1/1") == 1


def test_a_quiet_run_warns(tmp_path, capfd, monkeypatch):
    monkeypatch.setitem(tracker_sync.TRACKERS, "mlflow", ("no_such_tracker", "X"))
    settings = SETTINGS | {"federation.num-rounds": 1, "tracking": "mlflow"}
    simulations.run(settings=settings, out=tmp_path / "quiet", quiet=True)
    assert "fedgan: tracking='mlflow' is off from here on" in capfd.readouterr().err


def test_a_notebook_gets_progress_as_plain_lines(tmp_path, monkeypatch):
    class Cell(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(console, "_is_jupyter", lambda: True)
    monkeypatch.setattr(sys, "stderr", Cell())
    simulations.run(settings=SETTINGS, out=tmp_path / "run")
    text = sys.stderr.getvalue()
    assert [line[:9] for line in text.splitlines() if line.startswith("round")] == ["round 1/2", "round 2/2"]
    assert "\x1b" not in text


def test_who_interrupts_a_run_reads_how_to_go_on(tmp_path, monkeypatch):
    def interrupt(config, **options):
        RunDirectory(tmp_path / "cut").config.parent.mkdir()
        RunDirectory(tmp_path / "cut").config.write_text(config.toml())
        raise KeyboardInterrupt

    monkeypatch.setattr(in_process, "simulate", interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        simulations.run(settings=SETTINGS, out=tmp_path / "cut", engine="fastest")
    assert caught.value.__notes__ == [f"go on with: run(out={str(tmp_path / 'cut')!r}, resume=True, engine='fastest')"]
