"""A run of text is shown as text: in its folder, its report, over HTTP, on the console and by trackers."""

import json
import re

import pytest

from common import wire
from common.config import RunConfig
from common.datasets import DATASETS
from common.examples.pages import sections_of
from server.records import journal
from server.records.report import write_report
from server.records.run_directory import RunDirectory
from simulations.commands import main
from simulations.runtime import in_process
from tests.unit.families.verses import ROLES, Verses
from tests.unit.simulations.serve.conftest import listening

SETTINGS = {
    "data.name": "verses context=16",
    "model": "transformer layers=1 heads=1 width=16",
    "objective": "next-token",
    "optimiser": "adamw",
    "partition": "by-source",
    "federation.num-clients": 4,
    "federation.num-rounds": 2,
    "local.steps": 2,
    "output.sample-every": 1,
    "evaluation.every": 2,
    "evaluation.num-samples": 100,
    "evaluation.final-num-samples": 100,
}


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(DATASETS, "verses", Verses)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS, "verses", Verses)
        path = tmp_path_factory.mktemp("runs") / "run"
        in_process.simulate(RunConfig.from_flat(SETTINGS | {"output.dir": str(path)}), num_workers=1)
        return RunDirectory(path)


def texts_of(path):
    return sections_of(path.read_text(encoding="utf-8"))


def facts_of(path):
    return json.loads(path.read_text(encoding="utf-8").splitlines()[0])


def test_samples_are_pages_by_class_longer_than_a_row_and_cooler_ones_beside(run):
    path = run.sample(2)
    assert path.name == "round-0002.txt"
    assert [heading for heading, _ in texts_of(path)] == ["witches", "men"]
    assert all(len(texts) == 4 for _, texts in texts_of(path))
    assert max(len(text) for _, texts in texts_of(path) for text in texts) > 17
    cooler = run.variants()
    assert [file.name for file in cooler] == ["temperature-0.7.txt", "temperature-0.85.txt"]
    assert [facts_of(file)["way"] for file in (*cooler, path)] == [
        "temperature 0.7",
        "temperature 0.85",
        "temperature 1",
    ]
    assert len({facts_of(file)["seed"] for file in (*cooler, path)}) == 1
    assert facts_of(cooler[0])["round"] == 2
    assert texts_of(cooler[0]) != texts_of(path)


def test_real_texts_are_beside_them(run):
    real = dict(texts_of(run.real))
    assert list(real) == ["witches", "men"]
    assert all(re.fullmatch(r"[A-Z].+, (first witch|porter)\.", text) for text in real["witches"])


def test_clients_are_called_by_their_roles(run, capsys):
    clients = run.read_partition()["clients"]
    assert [client["site"] for client in clients] == list(ROLES)
    words = " ".join(f"{key}={json.dumps(value)}" for key, value in SETTINGS.items())
    assert main._run(["partition", "-c", words, "--json"], debug=False) == 0
    assert [client["site"] for client in json.loads(capsys.readouterr().out)["clients"]] == list(ROLES)
    assert main._run(["partition", "-c", words], debug=False) == 0
    printed = capsys.readouterr().out
    assert "rows of text" in printed
    assert "Second Witch" in printed
    assert "images" not in printed


def test_a_name_of_any_text_is_one_of_a_site():
    for text in ("HAMLET", "a\nb\x00 c ", "x" * 100):
        wire.check_site_name(wire.site_name(text))
    assert wire.site_name(" a\nb\x00 c ") == "a b c"
    assert wire.site_name("x" * 100) == "x" * 63 + "…"


def test_data_of_text_are_looked_at_with_settings_of_text(capsys):
    assert main._run(["data", "verses", "-c", 'data.name="verses context=16"'], debug=False) == 2
    capsys.readouterr()
    assert main._run(["data", "-c", 'data.name="verses context=16"'], debug=False) == 0
    printed = capsys.readouterr().out
    assert "held-out rows of text, 17 characters each" in printed
    assert "4 sources: First Witch, Second Witch, Porter, Macduff" in printed
    assert 'ready: fedgan simulate shakespeare -c \'data.name="verses context=16" federation.num-clients=4' in printed


def test_the_report_has_three_temperatures_beside_real_texts(run):
    page = write_report(run).read_text()
    heads = re.findall(r"<h4>(.*?)</h4>", page)
    assert heads[:4] == ["temperature 0.7", "temperature 0.85", "temperature 1", "real, never trained on"]
    assert dict(texts_of(run.real))["men"][0] in page
    assert "no row of text left its client" in page
    assert "rows of text of each class at each client" in page
    assert "images" not in page.partition("<h2>Configuration")[0].partition("</style>")[2]
    assert "bits</text>" in page
    assert "<td>1 Second Witch</td>" in page or "Second Witch</th>" in page


def test_a_page_says_where_it_comes_from(run, capsys):
    assert main._run(["inspect", str(run.sample(2))], debug=False) == 0
    assert json.loads(capsys.readouterr().out) == facts_of(run.sample(2))
    assert main._run(["inspect", str(run.real)], debug=False) == 2


def test_it_is_served_as_text(run):
    with listening(run.path.parent) as client:
        detail = client.get("/api/runs/run").json()
        assert detail["samples-are"] == "txt"
        assert detail["sample-rounds"] == [0, 1, 2]
        assert (detail["examples"]["one"], detail["examples"]["many"]) == ("row of text", "rows of text")
        assert detail["examples"]["class-names"] == ["witches", "men"]
        (losses,) = (chart for chart in detail["charts"] if chart["id"] == "losses")
        assert losses["other"] == {
            "name": "bits",
            "factor": pytest.approx(1.442695),
            "labels": ["next-token loss (bits)"],
        }
        assert [check["words"] for check in detail["checks"]] == ["no divergence"]
        found = client.get("/api/runs/run/samples/2.json").json()
        assert found["way"] == "temperature 1"
        assert [(it["heading"], it["texts"]) for it in found["sections"]] == texts_of(run.sample(2))
        assert list(found["ways"]) == ["temperature 0.7", "temperature 0.85"]
        assert [it["heading"] for it in found["real"]] == ["witches", "men"]
        page = client.get("/api/runs/run/samples/2.txt")
        assert page.headers["content-type"].startswith("text/plain")
        assert page.content == run.sample(2).read_bytes()
        assert client.get("/api/runs/run/samples/2.png").status_code == 404
        assert client.get("/api/runs/run/samples/7.json").status_code == 404
        assert client.get("/api/runs/run/partition").json()["clients"][2]["site"] == "Porter"


def test_lines_tell_the_loss_in_nats_and_bits(run):
    config = RunConfig.from_flat(SETTINGS)
    words = journal.describe(journal.read(run.journal)[-1], 2, config.objective_component.losses())
    nats, bits = map(float, re.search(r"next-token loss \(nats\) ([\d.]+) = ([\d.]+) bits", words).groups())
    assert bits == pytest.approx(nats * 1.4427, abs=0.002)
