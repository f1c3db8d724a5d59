"""``fedgan export`` as a script sees it."""

import json

import pytest

from simulations.commands import main


def fedgan(*arguments, capsys):
    code = main._run(["export", *map(str, arguments)], debug=False)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_model_is_exported_and_described(run, tmp_path, capsys):
    options = ("--to", "safetensors", "--out", tmp_path / "a", "--precision", "float32, int8", "--fid-images", 100)
    code, out, err = fedgan(run.path, *options, capsys=capsys)
    assert (code, out) == (0, f"{tmp_path / 'a'}\n")
    first, second = err.splitlines()
    assert first.startswith("generator.safetensors")
    assert "100.000 % of the bytes are equal, fid" in first
    assert "(+0)" in first
    assert second.startswith("generator-int8.safetensors")


def test_a_data_set_is_exported_and_reported_as_json(run, tmp_path, capsys):
    options = (
        "--to",
        "dataset",
        "--out",
        tmp_path / "a",
        "--num",
        10,
        "--layout",
        "npz",
        "--validation",
        0.5,
        "--json",
    )
    code, out, err = fedgan(run.path, *options, capsys=capsys)
    reported = json.loads(out.splitlines()[-1])
    assert (code, err) == (0, "")
    assert (reported["out"], reported["train"], reported["validation"]) == (str(tmp_path / "a"), 5, 5)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        "README.md", "dataset.json", "train.npz", "validation.npz"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--to", "tflite"], "to='tflite': onnx, torch-export, safetensors, or dataset"),
        (["--to", "safetensors", "--num", 3], "num=3 is for a data set, not for safetensors"),
        (["--to", "dataset", "--precision", "int8"], "precisions='int8' is for a model, not for dataset"),
        (["--to", "safetensors", "--round", 7], "no checkpoint of round 7"),
        (["--to", "safetensors", "--precision", "int4"], "precisions=('int4',): one or more of float32"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_value(options, words, run, tmp_path, capsys):
    code, out, err = fedgan(run.path, "--out", tmp_path / "a", *options, capsys=capsys)
    assert (code, out) == (2, "")
    assert words in err
    assert list(tmp_path.iterdir()) == []
