"""The page of a run that makes text, in headless Chromium: samples beside real ones, clients by name."""

import json

import pytest

from common.examples import TextSpec
from common.examples.pages import page as page_of
from tests.unit.simulations.serve.browsing import expect, seen
from tests.unit.simulations.serve.conftest import line, listening

pytestmark = pytest.mark.slow


@pytest.fixture
def verse(written, tmp_path):
    """Serves a run of text of two rounds, whose record is written by hand."""
    losses = {"token-loss": 2.0, "training-accuracy": 0.5}
    rows = [line(round) for round in (1, 2)]
    for row in rows:
        row["clients"] = [{"partition": k, "num-examples": 1200} | losses for k in range(2)]
    settings = {"data.name": "shakespeare", "model": "transformer", "objective": "next-token", "partition": "by-source"}
    run = written(rows, "verse", clients=2, **settings)
    shape = TextSpec(17, 8, "abc", 2).record()
    clients = [
        {"partition": k, "site": site, "num-examples": 1200, "label-counts": [600, 600], "data-digest": "x"}
        for k, site in enumerate(("HAMLET (Hamlet)", "PUCK (A Dream)"))
    ]
    run.partition.write_text(json.dumps({"shape": shape, "class-names": ["tragedies", "comedies"], "clients": clients}))
    for round in (1, 2):
        texts = [("tragedies", [f"sad {round}\n<b>bold</b>"]), ("comedies", [f"gay {round}"])]
        facts = json.dumps({"way": "temperature 1"})
        run.sample(round).with_suffix(".txt").write_text(f"{facts}\n\n{page_of(texts)}\n")
    run.variant("temperature 0.7").write_text(f"{{}}\n\n{page_of([('tragedies', ['cool'])])}\n")
    run.real.write_text(f"{page_of([('tragedies', ['to be']), ('comedies', ['lord, what fools'])])}\n")
    with listening(tmp_path / "runs") as client:
        yield client


def test_samples_are_texts_of_a_class_beside_real_ones_over_rounds(visit, verse):
    page = visit("/#/run/verse", at=verse.base_url)
    made, real = page.get_by_role("group", name="Generated"), page.get_by_role("group", name="Real, never trained on")
    expect(made.locator("blockquote")).to_have_text(["sad 2\n<b>bold</b>"])
    expect(real.locator("blockquote")).to_have_text(["to be"])
    page.get_by_label("Class").select_option("comedies")
    expect(made.locator("blockquote")).to_have_text(["gay 2"])
    expect(real.locator("blockquote")).to_have_text(["lord, what fools"])
    page.get_by_label("Class").select_option("tragedies")
    page.get_by_label("Sampled at").select_option("temperature 0.7")
    expect(made.locator("blockquote")).to_have_text(["cool"])
    page.get_by_label("Round of the samples").press("ArrowLeft")
    seen(page, "Samples after round 1")
    expect(made.locator("blockquote")).to_have_text(["sad 1\n<b>bold</b>"])
    expect(page.get_by_label("Sampled at")).to_have_count(0)  # kept of the latest only
    expect(page.locator(".film img")).to_have_count(0)


def test_losses_are_reported_in_bits_and_clients_by_their_names(visit, verse):
    page = visit("/#/run/verse", at=verse.base_url)
    seen(page, "Next-token loss (nats).")
    page.get_by_role("button", name="in bits").click()
    seen(page, "Next-token loss (bits).")
    seen(page, "HAMLET (Hamlet)")
    page.get_by_role("link", name="Clients", exact=True).click()
    seen(page, "1 PUCK (A Dream)")
    seen(page, "rows of text, by class")
    overview = visit("/", at=verse.base_url)
    expect(overview.locator(".thumb .excerpt")).to_have_text("sad 2\n<b>bold</b>")


def test_what_compared_runs_write_stands_side_by_side(visit, verse, written, tmp_path):
    for name, words in (("calm", "still waters"), ("storm", "blow winds")):
        rows = [line(1)]
        rows[0]["scores"] = {"bits-per-character": 2.5}
        run = written(rows, name, **{"data.name": "shakespeare", "model": "transformer", "objective": "next-token"})
        texts = [("tragedies", [words]), ("comedies", [f"merry {words}"])]
        run.sample(1).with_suffix(".txt").write_text(f"{{}}\n\n{page_of(texts)}\n")
    page = visit("/", at=verse.base_url)
    beside = page.get_by_role("region", name="Compared")
    expect(beside.get_by_role("group", name="calm, round 1").locator("blockquote")).to_have_text(["still waters"])
    beside.locator(".texts select").select_option("comedies")
    expect(beside.get_by_role("group", name="storm, round 1").locator("blockquote")).to_have_text(["merry blow winds"])
    page.locator("li", has_text="storm").get_by_label("compare").uncheck()
    expect(beside.locator("blockquote")).to_have_count(0)  # one run has nothing beside it


@pytest.mark.parametrize("width", [320, 1280])
def test_texts_fit_their_place(visit, verse, width):
    page = visit("/#/run/verse", at=verse.base_url, viewport={"width": width, "height": 800})
    expect(page.locator(".texts blockquote").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
