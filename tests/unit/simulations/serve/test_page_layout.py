"""How the page is laid out for few and many classes and clients, on phones and large screens: in headless Chromium."""

import json
import re

import pytest
from PIL import Image

from tests.unit.simulations.serve.browsing import expect, seen
from tests.unit.simulations.serve.conftest import event, line, listening

pytestmark = pytest.mark.slow

WIDTHS = [390, 500, 820, 1400]
MARKUP = "<img src=x onerror=alert(1)> & <b>bold</b>"
LONG = "adenocarcinoma in situ of the cervix, second stage, by biopsy"
BOX = "it => { const { left, right, top, bottom } = it.getBoundingClientRect(); return { left, right, top, bottom } }"


def make(written, name, clients, names, rounds=3):
    """Writes a run with scores, and samples of a row a class."""
    lines = [line(r, [(k, {"d-real": 1.0}) for k in range(clients)], fid=90.0 / r) for r in range(1, rounds + 1)]
    run = written(lines, name, clients=clients)
    roster = json.loads(run.partition.read_text())
    roster["shape"]["num-classes"] = len(names)
    for row in roster["clients"]:
        row["label-counts"] = [4] * len(names)
    run.partition.write_text(json.dumps(roster | {"class-names": names}))
    for round in range(rounds + 1):
        Image.new("L", (300, 30 * min(len(names), 20)), 90).save(run.sample(round))
    return run


@pytest.fixture
def kinds(written, tmp_path):
    """Serves runs of many kinds."""
    make(written, "one", 1, ["0", "1"], rounds=1)
    make(written, "named", 3, [MARKUP, LONG, "normal"])
    make(written, "plain", 3, ["all"])
    make(written, "many", 100, [f"class {k}" for k in range(100)])
    written([], "none")
    with listening(tmp_path / "runs") as client:
        yield client


def opened(visit, client, path, width):
    page = visit(path, at=client.base_url, viewport={"width": width, "height": 900})
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator(".skeleton")).to_have_count(0)
    return page


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_sticks_out_and_all_views_of_a_run_are_in_sight(visit, kinds, width):
    page = opened(visit, kinds, "/", width)
    for name in ("one", "named", "plain", "many", "none"):
        for tab in ("", "/clients", "/clients/0", "/playground", "/record"):
            page.goto(f"{kinds.base_url}/#/run/{name}{tab}")
            expect(page.get_by_role("heading", level=1)).to_have_text(name)
            page.wait_for_function("width => document.documentElement.scrollWidth <= width", arg=width)
            for link in page.locator(".tabs a").all():
                box = link.evaluate(BOX)
                assert box["left"] >= 0, (name, tab)
                assert box["right"] <= width, (name, tab)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_list_of_runs_is_no_wider_than_the_window_whatever_is_said_of_them(visit, written, tmp_path, width):
    why = [event("not-scored", 0, f"{name} is not computed: no extractor") for name in ("fid", "score")]
    written([*why, line(1), event("rollback", 1, "fid rose")], "signs")
    with listening(tmp_path / "runs") as client:
        page = opened(visit, client, "/", width)
        expect(page.locator(".run-main .badge")).to_have_text(re.compile("2 remarks on scores"))
        page.wait_for_function("width => document.documentElement.scrollWidth <= width", arg=width)


@pytest.mark.parametrize("width", WIDTHS)
def test_facts_fill_their_rows(visit, kinds, width):
    page = opened(visit, kinds, "/#/run/named", width)
    whole = page.locator(".facts").evaluate(BOX)
    rows = {}
    for fact in page.locator(".facts > div").all():
        box = fact.evaluate(BOX)
        rows.setdefault(round(box["top"]), []).append(box["right"])
    assert all(abs(max(ends) - whole["right"]) <= 2 for ends in rows.values())


@pytest.mark.parametrize("name", ["one", "named"])
def test_there_is_no_void_below_samples_of_few_classes(visit, kinds, name):
    page = opened(visit, kinds, f"/#/run/{name}", 1400)
    page.wait_for_function("document.querySelector('.screen img')?.complete")
    page.evaluate("() => new Promise(it => requestAnimationFrame(() => requestAnimationFrame(it)))")
    film = page.locator(".film").evaluate(BOX)
    cards = [card.evaluate(BOX) for card in page.locator(".training .card").all()]
    below = [box["top"] for box in cards if box["left"] == film["left"] and box["top"] > film["top"]]
    assert min(below) - film["bottom"] < 24
    for one in cards:
        for other in cards:
            apart = one["right"] <= other["left"] or other["right"] <= one["left"]
            assert one is other or apart or one["bottom"] <= other["top"] or other["bottom"] <= one["top"]


def test_thumbnails_of_few_classes_are_whole(visit, kinds):
    page = opened(visit, kinds, "/", 1400)
    image = page.locator(".run-card", has=page.get_by_role("link", name="one", exact=True)).locator(".thumb img")
    expect(image).to_have_css("object-fit", "contain")
    expect(page.locator(".run-card", has_text="none").locator(".thumb")).to_have_text("no samples")


@pytest.mark.parametrize(("width", "most"), [(390, 6), (1400, 24)])
def test_long_lists_of_clients_are_short_at_first(visit, kinds, width, most):
    page = opened(visit, kinds, "/#/run/many/clients", width)
    rows = page.locator(".clients tbody tr")
    expect(rows).to_have_count(most)
    page.get_by_role("button", name="show all 100").click()
    expect(rows).to_have_count(100)
    page.get_by_role("button", name="show fewer").click()
    expect(rows).to_have_count(most)
    page.goto(f"{kinds.base_url}/#/run/many")
    expect(page.locator(".tiles li")).to_have_count(most)


def test_names_of_classes_are_text_and_stand_beside_their_samples(visit, kinds):
    page = opened(visit, kinds, "/#/run/named", 1400)
    expect(page.locator(".screen .rows span")).to_have_text([MARKUP, LONG, "normal"])
    image, rows = page.locator(".screen img").evaluate(BOX), page.locator(".screen .rows").evaluate(BOX)
    assert abs((rows["bottom"] - rows["top"]) - (image["bottom"] - image["top"])) < 2
    page.goto(f"{kinds.base_url}/#/run/named/clients/1")
    seen(page, f"{MARKUP} (4), {LONG} (4), normal (4)")
    page.goto(f"{kinds.base_url}/#/run/many")
    expect(page.locator(".screen .rows span")).to_have_count(20)
    seen(page, "A row a class, the first 20 of 100.")


def test_images_without_labels_have_no_classes_to_pick_or_to_count(visit, kinds):
    page = opened(visit, kinds, "/#/run/plain", 1400)
    expect(page.locator(".screen .rows")).to_have_count(0)
    expect(page.locator("main")).not_to_contain_text("A row a class")
    page.goto(f"{kinds.base_url}/#/run/plain/clients/1")
    seen(page, "Without labels.")
    expect(page.locator(".histogram")).to_have_count(0)


TICKS = """async () => {
    const { logTicks, ticks, tickWords } = await import("./scale.js");
    const of = (values) => tickWords(values);
    return {
        short: of(ticks(1.048, 1.062, 4)), uneven: of(ticks(1.02, 1.14, 4)),
        step: of(ticks(0.03, 1.03, 4)), rounds: of(ticks(1, 5, 4, true)),
        two: of(ticks(1, 2, 6, true)), one: of(ticks(1, 1, 6, true)),
        near: of(logTicks(91, 110)), same: of(logTicks(46, 54)), decade: of(logTicks(11, 99)),
        wide: of(logTicks(150, 60000)), huge: of(logTicks(1e-9, 1e9)),
    };
}"""


def test_axes_have_enough_ticks_and_no_two_read_alike(visit, kinds):
    found = opened(visit, kinds, "/", 1400).evaluate(TICKS)
    assert found["rounds"] == ["1", "2", "3", "4", "5"]
    assert found["two"] == ["1", "2"]
    assert found["one"] == ["1"]
    assert found["uneven"] == ["1.025", "1.05", "1.075", "1.1", "1.125"]
    for name, words in found.items():
        assert len(set(words)) == len(words), name
        assert 3 <= len(words) <= 8 or name in ("two", "one"), (name, words)
