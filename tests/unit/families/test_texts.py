"""Text comes out of a trained run: as files, as a list in Python, and the same for the same request."""

import json
import threading
import time

import numpy as np
import pytest
import torch

from common.config import RunConfig
from common.datasets import DATASETS
from common.errors import ConfigError
from common.examples.text import END_TOKEN
from common.generation import Mixture, generate
from common.models.tokens import TextSampler
from common.writing import noise_of_texts
from simulations import load
from simulations.commands import main
from simulations.export.model import FORMATS
from simulations.export.network import FullSequence
from simulations.export.to_onnx import Onnx
from simulations.export.to_torch import traced
from simulations.runs import provenance
from simulations.runs.generator import load_trained
from simulations.runs.text_files import texts_of_txt
from simulations.runtime import in_process
from simulations.serve.batching import Batcher
from simulations.serve.models import Network, rows_apart
from tests.unit.common.test_writing import SPEC, Follows
from tests.unit.families.verses import Verses
from tests.unit.simulations.serve.conftest import listening


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
    details = json.loads((tmp_path / "a.jsonl.provenance.json").read_text())
    assert details["number"] == len(lines) < 30
    assert sum(details["dropped"].values()) == 30 - len(lines)
    assert f"{details['dropped']['without-words']} of 30 texts dropped: they hold a word of the filter" in (
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


@pytest.fixture(scope="module")
def client(run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS, "verses", Verses)
        with listening(run.parent) as client:
            yield client


def send(client, accept="", **body):
    return client.post("/api/runs/run/generate", json=body, headers={"Accept": accept} if accept else {})


def test_a_server_writes_what_the_command_writes(client, run):
    how = {"temperature": 0.8, "length": 40, "seed": 3}
    expected = load(run).generate(70, prompts=["The ", "A"], top_p=0.9, **how)
    found = send(client, num=70, prompts=["The ", "A"], **how, **{"top-p": 0.9}).json()
    assert [text["text"] for text in found["texts"]] == expected.texts
    assert [text["label"] for text in found["texts"]] == expected.labels.tolist()
    assert found["texts"][2] == {"index": 2, "label": 1, "class": "men", "prompt": "The ", "text": expected.texts[2]}
    assert found["provenance"]["model-sha256"] == expected.origin["model-sha256"]
    assert found["provenance"]["request"]["prompts"] == ["The ", "A"]
    assert "'\u00e9'" in send(client, prompts=["\u00e9"]).json()["remarks"][0]
    shorter = send(client, num=2, prompts=["The ", "A"], **how | {"length": 10}, **{"top-p": 0.9}).json()["texts"]
    assert all(longer.startswith(text["text"]) for longer, text in zip(expected.texts, shorter, strict=False))


def test_a_server_does_to_texts_what_the_command_does_and_counts_what_it_drops(client, run):
    how = {"length": 4, "temperature": 0.3, "prompts": ["The ow", "A "], "seed": 1}
    word = "A " + load(run).generate(2, **how).texts[1].split()[1]
    done = {"normalise": True, "unique": True, "sort": True}
    expected = load(run).generate(40, without_words=word, split="words", **how, **done)
    answer = send(client, num=40, **how, **done, split="words", **{"without-words": [word.upper()]})
    found = answer.json()
    assert [text["text"] for text in found["texts"]] == expected.texts
    assert [text["words"] for text in found["texts"]] == [item.parts["words"] for item in expected.items]
    assert found["dropped"] == dict(expected.dropped) == found["provenance"]["dropped"]
    assert found["dropped"]["without-words"] >= 1
    assert found["dropped"]["unique"] >= 1
    assert found["made"] == 40 == len(found["texts"]) + sum(found["dropped"].values())
    assert found["remarks"] == list(expected.remarks)
    assert answer.headers["x-fedgan-rejected"] == str(sum(found["dropped"].values()))
    lines = send(client, num=40, **how, format="jsonl", split="sentences").text.splitlines()
    assert all("sentences" in json.loads(line) for line in lines)
    assert len(lines) == 40


@pytest.mark.parametrize(
    ("body", "accept", "media", "ending"),
    [
        ({}, "", "application/json", "json"),
        ({}, "text/html, text/csv;q=0.9", "text/csv; charset=utf-8", "csv"),
        ({}, "application/x-ndjson", "application/x-ndjson", "jsonl"),
        ({}, "text/plain", "text/plain; charset=utf-8", "txt"),
        ({"format": "jsonl"}, "text/csv", "application/x-ndjson", "jsonl"),
    ],
)
def test_the_form_is_what_is_requested(client, body, accept, media, ending):
    answer = send(client, accept, num=3, length=20, **body)
    assert (answer.status_code, answer.headers["content-type"]) == (200, media)
    assert f"run-round-2-seed-0.{ending}" in answer.headers["content-disposition"]
    assert answer.content == send(client, accept, num=3, length=20, **body).content


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"truncation": 1}, "truncation is for images, and this run makes text: leave it out"),
        ({"noise": [[0.5]]}, "noise is for images"),
        ({"format": "png"}, "format='png' is for images: json, jsonl, txt, csv"),
        ({"length": 4097}, "a text would have up to 4,097 characters with its prompt, and 4,096 are allowed"),
        ({"num": 1000, "length": 263}, "all texts would have up to 263,000 characters"),
        ({"temperature": 0.01}, "temperature=0.01: Input should be greater than or equal to 0.05"),
        ({"labels": [2]}, "labels has 2; the generator knows 0 to 1"),
        ({"prompts": ["a" * 4001]}, "should have at most 4000 characters"),
        ({"format": "txt", "split": "words"}, "split='words' is for json and jsonl: format='txt' has no place for it"),
        ({"split": "letters"}, "split='letters'"),
        ({"without-words": []}, "without-words"),
    ],
)
def test_a_server_refuses_in_words(client, body, words):
    answer = send(client, **body)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


def test_a_server_says_what_a_run_writes(client):
    details = client.get("/api/runs/run").json()
    assert details["images"] is None
    assert details["texts"]["class-names"] == ["witches", "men"]
    assert (details["texts"]["context"], details["texts"]["conditional"], details["texts"]["drawn"]) == (
        16,
        True,
        [0, 1],
    )
    assert {"Texts", "Written", "TextKind"} <= set(client.document["components"]["schemas"])


def test_requests_with_the_same_options_share_passes_and_one_that_is_given_up_ends(client, run):
    network = Network(load_trained(run), joins=True)
    assert network.adapted(0.5, None) is network.adapted(0.5, None)
    assert network.adapted(0.5, 0.9) is not network.adapted(0.5, None)
    batcher = Batcher(1000)
    started, steps = threading.Event(), []

    class Slow:
        joins = True

        def make(self, *rows, on_step):
            started.set()
            for _ in range(10_000):
                steps.append(1)
                on_step()
                time.sleep(0.001)

    future = batcher.submit(Slow(), torch.zeros(2, 3), torch.zeros(2).long())
    assert started.wait(30)
    future.cancel()
    rows = noise_of_texts(1, (17,), 8, 0), torch.zeros(1).long(), torch.zeros(1, 16).long()
    assert batcher.submit(network.adapted(None, None), *rows).result(30).shape == (1, 8)
    assert len(steps) < 10_000
    batcher.close()


def test_a_row_does_not_depend_on_what_is_written_beside_it(run):
    assert rows_apart(load_trained(run).generator, 2)


@pytest.mark.parametrize("to", ["safetensors", "torch-export", "onnx"])
def test_a_model_is_exported_as_what_it_expects_after_each_token(run, tmp_path, to, capsys, monkeypatch):
    if to == "onnx":
        for module in Onnx.needs:
            pytest.importorskip(module)
    out = tmp_path / "out"
    assert main._run(["export", str(run), "--to", to, "--precision", "float32", "--out", str(out)], debug=False) == 0
    manifest = json.loads((out / "export.json").read_text())
    assert manifest["inputs"]["tokens"] == ["batch", "length", f"int64, 0 to {load_trained(run).spec.num_tokens - 1}"]
    agreement = manifest["files"][0]["agreement"]
    assert agreement["equal"] > 0.99
    assert agreement["largest"] < 1e-4
    network = FORMATS[to]().read((out / manifest["files"][0]["file"]).read_bytes())
    with np.load(out / "reference.npz") as arrays:
        for length in (2, 9, 16):
            tokens, labels = (torch.from_numpy(arrays[name]) for name in ("tokens", "labels"))
            found = network(tokens[:3, :length], labels[:3])
            torch.testing.assert_close(found, torch.from_numpy(arrays["logits"])[:3, :length], rtol=0, atol=1e-4)
    card = (out / "README.md").read_text()
    assert "pipeline_tag: text-generation" in card
    assert "image" not in card
    assert manifest["measured"] == ["bits-per-character", "accuracy"]
    own, row = manifest["bits-per-character"], manifest["files"][0]
    assert own["rows"] == 2000
    assert row["bits-per-character"] == pytest.approx(own["own"], abs=1e-3)
    assert row["bits-per-character-loss"] == row["bits-per-character"] - own["own"]
    last = json.loads((run / "summary.json").read_text())["scores"]
    assert own["own"] == pytest.approx(last["bits-per-character"], rel=1e-5)  # there are fewer held-out rows
    assert row["accuracy"] == pytest.approx(last["accuracy"], abs=0.01)
    assert "bits per character on up to 2,000 rows of held-out text, where the run's own model has" in card
    code = card.partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(out)
    exec(code, {})
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("layout", ["jsonl", "parquet"])
def test_texts_are_exported_as_a_data_set(run, tmp_path, layout):
    out = tmp_path / "out"
    if layout == "parquet":
        pq = pytest.importorskip("pyarrow.parquet")
    options = ["--num", "20", "--seed", "1", *(["--layout", layout] if layout == "parquet" else [])]
    assert main._run(["export", str(run), "--to", "dataset", "--out", str(out), *options], debug=False) == 0
    expected = load(run).generate(20, seed=1)
    if layout == "jsonl":
        files = [(out / f"{part}.jsonl").read_text() for part in ("train", "validation")]
        lines = [json.loads(line) for content in files for line in content.splitlines()]
        assert provenance.read(out)["seed"] == 1
    else:
        parts = (out / f"data/{part}-00000-of-00001.parquet" for part in ("train", "validation"))
        lines = [row for part in parts for row in pq.read_table(part).to_pylist()]
    rows = {line["index"]: (line["text"], line["label"]) for line in lines}
    assert [rows[index] for index in range(20)] == list(zip(expected.texts, expected.labels.tolist(), strict=True))
    details = json.loads((out / "dataset.json").read_text())
    assert (details["train"], details["validation"], details["examples"]) == (18, 2, "texts")
    assert "Synthetic texts like verses" in (out / "README.md").read_text()


def test_layouts_are_those_of_the_kind(run, tmp_path, capsys):
    options = ["--to", "dataset", "--layout", "image-folder", "--out", str(tmp_path / "out")]
    assert main._run(["export", str(run), *options], debug=False) == 2
    assert "layout='image-folder' is not for texts: take jsonl or parquet" in capsys.readouterr().err


def test_a_mixture_is_exported_with_its_shares(tmp_path):
    samplers = [TextSampler(Follows({END_TOKEN: it, it: it})) for it in (3, 4)]
    both = Mixture(samplers, torch.tensor([[3.0, 0.0], [1.0, 1.0]]))
    tokens = torch.tensor([[END_TOKEN, 3, 3, 4], [END_TOKEN, 3, 3, 4]])
    found = FullSequence(both)(tokens[:, :-1], torch.tensor([0, 1])).softmax(-1)
    torch.testing.assert_close(found, both.log_probabilities(tokens, torch.tensor([0, 1])).exp())
    assert found.shape == (2, 3, SPEC.num_tokens)


def test_a_network_that_reads_token_by_token_is_refused_as_a_graph():
    with pytest.raises(ConfigError, match="this model is no one graph for texts of any length: export it to safe"):
        traced(FullSequence(TextSampler(Follows({}))))
