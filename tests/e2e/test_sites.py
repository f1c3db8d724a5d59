"""A federation of sites with images of their own, in process."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import TEXT, run_on

from client.app import app
from common.errors import FederationError
from common.seeding import numpy_generator
from common.weightings import WEIGHTINGS
from server.records import incidents, journal
from simulations.runtime.in_process_grid import InProcessGrid

CLASSES = ("benign", "malign")


def write_site(folder, size=28, classes=CLASSES, seed=0):
    generator = numpy_generator(seed, "scans")
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(10 + seed):
            pixels = generator.integers(80 * label, 80 * label + 80, (size, size), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return f"image-folder grey=true:{folder}"


def federate(config, sites):
    """Runs a federation of sites with these node configurations."""
    grid = InProcessGrid(app, config.flat(), config.federation.num_clients, 1)
    for k, node_config in enumerate(sites):
        grid._node_configs[k] |= node_config
    return run_on(grid, config)


THREE = {"federation__num_clients": 3, "partition": "iid", "local__moments": "keep"}


def test_sites_train_on_their_own_images_and_say_only_what_they_want(small, tmp_path, caplog):
    caplog.set_level("INFO", logger="fedgan.server")
    sites = [
        {"data": write_site(tmp_path / f"scans-{k}", seed=k), "state-path": str(tmp_path / f"state-{k}")}
        for k in range(3)
    ]
    sites[1]["disclose-labels"] = False
    directory = federate(small(**THREE), sites)
    assert len(journal.read(directory.journal)) == 3
    split = json.loads(directory.partition.read_text())
    assert split["shape"] == {"channels": 1, "size": 28, "num-classes": 2}
    assert [client["num-examples"] for client in split["clients"]] == [16, 18, 19]
    assert [client["label-counts"] for client in split["clients"]] == [None, None, None]  # nobody needs them
    assert "has other images or classes than the clients" in caplog.text  # so the embedded digits score nothing
    for k in range(3):
        (run,) = (tmp_path / f"state-{k}" / "runs").iterdir()
        kept = sorted(path.name for path in (run / f"partition-{k}").iterdir())
        assert kept[-1] == "memory-000003.safetensors"
        assert len(kept) <= 3


def test_a_site_counts_its_labels_only_for_a_run_that_needs_it(small, tmp_path, monkeypatch):
    monkeypatch.setattr(WEIGHTINGS["uniform"], "needs_label_counts", True)
    sites = [{"data": write_site(tmp_path / f"scans-{k}", seed=k)} for k in range(3)]
    directory = federate(small(**THREE, weighting="uniform", federation__num_rounds=1), sites)
    split = json.loads(directory.partition.read_text())
    assert [client["label-counts"] for client in split["clients"]] == [[8, 8], [9, 9], [10, 9]]
    sites[1]["disclose-labels"] = False
    with pytest.raises(FederationError, match=r"partition 1 keeps that to itself \(disclose-labels=false\)"):
        federate(small("other", **THREE, weighting="uniform"), sites)


def test_a_simulated_client_always_counts_its_labels(small):
    split = json.loads(federate(small(**THREE, federation__num_rounds=1), []).partition.read_text())
    assert [sum(client["label-counts"]) for client in split["clients"]] == [
        client["num-examples"] for client in split["clients"]
    ]


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        ({"size": 32}, "partition 1 has 32x32 images with 1 .* expected 28x28 images with 1 channel.* of 2 class"),
        ({"classes": (*CLASSES, "unclear")}, r"partition 1 has .* of 3 class\(es\), expected .* of 2 class\(es\)"),
        ({"classes": ("cats", "dogs")}, "partition 1 has the classes cats, dogs, expected benign, malign"),
    ],
)
def test_a_site_that_does_not_fit_is_refused_by_name(small, tmp_path, odd, words):
    sites = [{"data": write_site(tmp_path / f"scans-{k}", **(odd if k == 1 else {}))} for k in range(3)]
    with pytest.raises(FederationError, match=words):
        federate(small(**THREE), sites)


def test_a_resumed_run_on_other_images_is_refused_by_partition(small, tmp_path):
    sites = [{"data": write_site(tmp_path / f"scans-{k}", seed=k)} for k in range(3)]
    federate(small(**THREE, federation__num_rounds=1), sites)
    sites[2]["data"] = write_site(tmp_path / "other", seed=3)
    with pytest.raises(Exception, match="the data of partition 2: num-examples was 19, is .*data-digest was"):
        federate(small(**THREE, output__resume=True), sites)


def write_texts(folder, words):
    """Writes two files of 40 paragraphs each, and returns a site's node configuration."""
    folder.mkdir()
    for name in words:
        (folder / f"{name}.txt").write_text("\n\n".join(f"{name} and {name}, {k} times" for k in range(40)))
    return {"data": f"text-folder context=16:{folder}"}


def test_rounds_of_sites_with_texts_of_their_own_are_scored_by_what_these_tell(small, tmp_path, caplog):
    caplog.set_level("INFO", logger="fedgan.server")
    names = (("ash", "oak"), ("rowan", "yew"), ("fir", "elm"))
    sites = [write_texts(tmp_path / f"notes-{k}", words) for k, words in enumerate(names)]
    sites[1]["disclose-moments"] = False
    changes = {k: v for k, v in TEXT.items() if k not in ("data.name", "partition", "federation.num-clients")}
    changes |= {"data.name": "text-folder context=16", "data.root": str(tmp_path / "nothing")}
    changes |= {"evaluation.every": 1, "guard.rollbacks": 0}
    config = small(**{key.replace(".", "__").replace("-", "_"): value for key, value in changes.items()}, **THREE)
    directory = federate(config, sites)
    scored = [line["scores"]["federated-bits-per-character"] for line in journal.read(directory.journal)]
    assert len(scored) == 3
    assert scored[2] < scored[0]
    summary = json.loads(directory.summary.read_text())
    assert summary["scores"]["federated-bits-per-character"] == pytest.approx(scored[2], rel=1e-6)
    assert summary["best"]["federated-bits-per-character"] == min(scored)
    assert "1 of 3 clients tell none: partition 1: disclose-moments=false" in caplog.text


def test_a_mistyped_key_of_a_site_stops_the_run_in_words(small):
    with pytest.raises(FederationError, match=r"disclose-label=False: Extra inputs.*known keys: .*disclose-labels"):
        federate(small(**THREE), [{"disclose-label": False}])


def test_sites_that_have_a_name_are_called_by_it_everywhere(small, tmp_path, caplog):
    caplog.set_level("INFO", logger="fedgan.server")
    sites = [{"site-name": "hospital-a"}, {"site-name": "hospital-b", "device": "cuda:99"}, {}]
    directory = federate(small(**THREE, federation__num_rounds=1), sites)
    (line,) = journal.read(directory.journal)
    assert [(row["partition"], row.get("site")) for row in line["clients"]] == [(0, "hospital-a"), (2, None)]
    assert [(row["partition"], row["site"]) for row in line["refused"]] == [(1, "hospital-b")]
    assert "round 1: site hospital-b (partition 1) is left out: ConfigError: device='cuda:99'" in caplog.text
    split = json.loads(directory.partition.read_text())["clients"]
    assert [row.get("site") for row in split] == ["hospital-a", "hospital-b", None]
    assert [what for _, what, _ in incidents.incidents([line], [])] == ["hospital-b (client 1) left out"]


def test_a_site_that_is_renamed_is_the_same_to_a_resumed_run(small):
    federate(small(**THREE, federation__num_rounds=1), [{"site-name": "hospital-a"}])
    directory = federate(small(**THREE, federation__num_rounds=2, output__resume=True), [{"site-name": "clinic"}])
    assert [line["clients"][0]["site"] for line in journal.read(directory.journal)] == ["hospital-a", "clinic"]


def test_a_site_that_does_not_fit_is_named_and_lasts(small, tmp_path):
    sites = [{"data": write_site(tmp_path / f"scans-{k}", size=32 if k == 1 else 28)} for k in range(3)]
    sites[1]["site-name"] = "hospital-b"
    with pytest.raises(FederationError, match=r"site hospital-b \(partition 1\) has 32x32 images") as caught:
        federate(small(**THREE), sites)
    assert caught.value.lasting


def test_no_client_in_this_process_is_lost_to_the_time_that_a_round_has(small, monkeypatch):
    for name in ("_FEWEST_SECONDS", "_UNKNOWN_SECONDS", "_TIMES"):
        monkeypatch.setattr(f"server.clients.deadlines.{name}", 0.0)
    directory = federate(small(**THREE), [])
    assert [line["refused"] for line in journal.read(directory.journal)] == [[], [], []]
