"""Text comes out of a trained run: as files, as a list in Python, and the same for the same request."""

import json

import numpy as np
import pytest
import torch

from common.config import RunConfig
from common.datasets import DATASETS
from common.errors import ConfigError
from common.generation import generate
from simulations import load
from simulations.commands import main
from simulations.runs.generator import load_trained
from simulations.runs.text_files import texts_of_txt
from simulations.runtime import in_process
from tests.unit.families.verses import Verses


def config(run, **changes):
    return RunConfig.from_flat(
        {
            "data.name": "verses context=16",
            "model": "transformer layers=1 heads=2 width=16",
            "objective": "next-token",
            "optimiser": "adamw",
            "partition": "by-source",
            "federation.num-clients": 4,
            "federation.num-rounds": 2,
            "local.steps": 5,
            "local.learning-rate": 0.01,
            "evaluation.every": 0,
            "evaluation.final-num-samples": 100,
            "output.dir": str(run),
            **changes,
        }
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS, "verses", Verses)
        path = tmp_path_factory.mktemp("texts") / "run"
        in_process.simulate(config(path), num_workers=1)
        return path


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(DATASETS, "verses", Verses)


def made(run, out, *options):
    assert main._run(["generate", str(run), "--out", str(out), *options], debug=False) == 0
    return out


def test_the_same_request_gives_the_same_texts_in_every_form_and_in_python(run, tmp_path):
    how = ["--num", "7", "--prompt", "The ", "--temperature", "0.8", "--top-p", "0.95", "--length", "40", "--seed", "3"]
    lines = [json.loads(line) for line in made(run, tmp_path / "a.jsonl", *how).read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(7))
    assert all(line["text"].startswith("The ") and line["seed"] == 3 for line in lines)
    assert {line["class"] for line in lines} == {"witches", "men"}
    texts = [line["text"] for line in lines]
    assert len(set(texts)) > 3
    assert texts_of_txt(made(run, tmp_path / "a.txt", *how).read_text()) == texts
    folder = made(run, tmp_path / "folder", *how)
    assert [path.read_bytes().decode() for path in sorted(folder.glob("0*.txt"))] == texts
    found = load(run).generate(7, prompts="The ", temperature=0.8, top_p=0.95, length=40, seed=3)
    assert found.texts == texts
    assert found[[2, 4]].texts == [texts[2], texts[4]]
    assert "7 texts, of round 2 of" in found._repr_html_()
    assert found.save(tmp_path / "b.csv").read_text().count("The ") >= 7
    assert load(run).generate(3, prompts="The ", temperature=0.8, top_p=0.95, length=40, seed=3).texts == texts[:3]
    assert load(run).generate(7, prompts="The ", length=40, seed=3).texts != texts


def test_texts_of_a_rows_length_are_those_of_previews_and_scores(run, tmp_path):
    trained = load_trained(run)
    expected = generate(trained.generator, trained.in_turn(5), seed=2)
    with np.load(made(run, tmp_path / "a.npz", "--num", "5", "--length", "17", "--seed", "2")) as arrays:
        assert np.array_equal(arrays["examples"], expected.numpy())
        assert arrays["labels"].tolist() == [0, 1, 0, 1, 0]


def test_prompts_and_classes_combine(run, tmp_path):
    (tmp_path / "prompts").write_text("A \nThe\n")
    out = made(run, tmp_path / "a.jsonl", "--num", "4", "--prompt-file", str(tmp_path / "prompts"), "--length", "5")
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(line["prompt"], line["label"]) for line in lines] == [("A ", 0), ("The", 0), ("A ", 1), ("The", 1)]
    assert len(load(run).generate(prompts=[f"{n}" for n in range(25)], length=2)) == 25
    assert len(load(run).generate(prompts="a", length=2)) == 20
    assert load(run).generate(labels=[1, 1], length=2).labels.tolist() == [1, 1]


def test_what_is_done_to_texts_is_said(run, tmp_path, capsys):
    before = load(run).generate(30, length=30)
    word = before.texts[0].split()[0].strip(",.")
    (tmp_path / "words").write_text(word.upper())
    options = ["--num", "30", "--length", "30", "--without-words", str(tmp_path / "words"), "--unique", "--sort"]
    out = made(run, tmp_path / "a.jsonl", *options, "--normalise", "--split", "words")
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    told = json.loads((tmp_path / "a.jsonl.provenance.json").read_text())
    assert told["number"] == len(lines) < 30
    assert sum(told["dropped"].values()) == 30 - len(lines)
    assert f"{told['dropped']['without-words']} of 30 texts dropped: they hold a word of the filter" in (
        capsys.readouterr().err
    )
    assert all(word.lower() not in [it.lower() for it in line["words"]] for line in lines)
    texts = [line["text"] for line in lines]
    assert texts == sorted(set(texts), key=lambda text: (text.casefold(), text))


def test_a_text_stops_at_a_mark_and_characters_that_are_not_known_are_named(run, tmp_path, capsys):
    (whole,) = load(run).generate(1, length=30, prompts="The").texts
    mark = whole[8]
    out = made(run, tmp_path / "a.txt", "--num", "1", "--prompt", "The", "--length", "30", "--stop", mark)
    assert out.read_text() == whole[: whole.index(mark, 3)] + "\n"
    made(run, tmp_path / "b.txt", "--num", "1", "--prompt", "Th\u00e9\u20ac")
    assert "does not know, and reads as one unknown character: '\u00e9', '\u20ac'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--temperature", "0"], "temperature=0.0: Input should be greater than or equal to 0.05"),
        (["--top-p", "1.5"], "top_p=1.5: Input should be less than or equal to 1"),
        (["--split", "letters"], "split='letters'"),
        (["--split", "words"], "is written to a .jsonl only"),
        (["--label", "2"], "--label 2; the generator knows 0 to 1"),
        (["--prompt-file", "nowhere"], "'nowhere' cannot be read"),
    ],
)
def test_what_cannot_be_is_refused_in_words(run, tmp_path, capsys, options, words):
    assert main._run(["generate", str(run), "--out", str(tmp_path / "a.txt"), *options], debug=False) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_file_of_the_wrong_kind_is_refused(run, tmp_path, capsys):
    assert main._run(["generate", str(run), "--out", str(tmp_path / "a.png")], debug=False) == 2
    assert "this run makes text: write to a .jsonl, .txt, .csv or .npz, or to a folder" in capsys.readouterr().err
    assert main._run(["generate", str(run), "--out", str(tmp_path / "a.npz"), "--unique"], debug=False) == 2
    assert "write to a .jsonl, or leave unique out" in capsys.readouterr().err
    (tmp_path / "a.txt.provenance.json").touch()
    with pytest.raises(ConfigError, match="is there already"):
        load(run).generate(1, length=2).save(tmp_path / "a.txt")
    with pytest.raises(ConfigError, match="truncation=2: no such option"):
        load(run).generate(1, truncation=2)


def test_a_mixture_writes_too(tmp_path):
    changes = {"algorithm": "effgan finetune=1", "partition": "iid"}
    in_process.simulate(config(tmp_path / "run", **changes), num_workers=1)
    found = load(tmp_path / "run").generate(8, prompts=["The", "A"], temperature=0.5, length=40)
    assert [text.startswith(("The", "A")[k % 2]) for k, text in enumerate(found.texts)] == [True] * 8
    trained = load_trained(tmp_path / "run")
    assert len(trained.generator.generators) == 4
    rows = trained.spec.to_input(found.stored[:, :17].contiguous())
    expected = trained.generator.log_probabilities(rows, torch.zeros(8, dtype=torch.int64))
    torch.testing.assert_close(expected.exp().sum(-1), torch.ones(8, 16))
