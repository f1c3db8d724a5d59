"""The page in headless Chromium: against a finished run, and one whose journal grows while it is looked at."""

import json
import re
import shutil
import time

import pytest

from simulations.runs import provenance
from tests.unit.simulations.serve.browsing import expect, growing, seen
from tests.unit.simulations.serve.conftest import doing, event, line, listening

pytestmark = pytest.mark.slow

TOKEN = "a-token-of-some-length"


def test_runs_are_listed_and_one_is_opened(visit):
    page = visit()
    expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
    page.get_by_role("link", name="digits", exact=True).click()
    expect(page.get_by_role("heading", name="digits")).to_be_focused()
    seen(page, "Finished after 3 rounds.")
    assert "digits" in page.title()
    for side, words in (("Clients", "4 clients"), ("Record", "local.batch-size"), ("Training", "Losses")):
        page.get_by_role("link", name=side, exact=True).click()
        seen(page, words)
    page.reload()
    seen(page, "Losses")


def test_a_line_of_the_journal_is_seen_within_two_seconds(visit, written, tmp_path):
    with growing(written) as (_, write), listening(tmp_path / "runs") as client:
        page = visit("/#/run/live", at=client.base_url)
        seen(page, "Round 4 of 10 is under way.")
        expect(page.locator(".live").first).to_have_text("live")
        waits = []
        for round in (4, 5, 6):
            began = time.perf_counter()
            write(line(round, [(k, {}) for k in range(4)], fid=40.0))
            seen(page, f"Round {round + 1} of 10 is under way.")
            waits.append(time.perf_counter() - began)
        assert min(waits) < 2, waits
        expect(page.locator("#news")).to_contain_text("Round 6 of 10 is done, FID 40")
        overview = visit("/", at=client.base_url)
        seen(overview, "round 6 of 10")
        write(line(7, [(k, {}) for k in range(4)]))
        seen(overview, "round 7 of 10")


def test_what_each_client_does_within_a_round_is_seen_as_it_changes(visit, written, tmp_path):
    with growing(written) as (run, write), listening(tmp_path / "runs") as client:
        doing(run, 4, k0="training", k1="requested")
        page = visit("/#/run/live", at=client.base_url)
        chips = page.locator(".chips")
        expect(chips.locator("li")).to_have_text(["client 0▶ training", "client 1◌ task sent"])
        seen(page, "1 training, 1 task sent, 2 not selected")
        expect(page.locator(".live").first).to_have_text("live")
        began = time.perf_counter()
        doing(run, 4, k0="answered", k1="away")
        expect(chips.locator("li")).to_have_text(["client 1✕ away", "client 0✓ answered"])
        assert time.perf_counter() - began < 5
        write(line(4, [(k, {}) for k in range(4)]))
        expect(chips).to_have_count(0)
        seen(page, "Clients in round 4")


def test_trouble_is_said_in_words_where_it_is_looked_for(visit, written, tmp_path):
    with growing(written) as (_, write), listening(tmp_path / "runs") as client:
        page = visit("/#/run/live", at=client.base_url)
        seen(page, "nothing looks wrong: no divergence, nobody left out. Could not be checked: collapse")
        write(line(4, [(k, {}) for k in range(3)], [(3, "its update is 9.1 times as long as the median")], fid=66.0))
        write(line(5, [(0, {"drift": 9.0}), (1, {}), (2, {}), (3, {})], fid=900.0))
        seen(page, "Client 3 was left out of round 4")
        seen(page, "times as far from the mean as the median client")
        seen(page, "the generator gets worse")
        expect(page.locator(".signs .error .kind").first).to_contain_text("Divergence")
        page.get_by_role("button", name="round 4").first.click()
        left_out = page.locator(".tiles .left-out")
        expect(left_out).to_contain_text("client 3")
        expect(left_out).to_contain_text("its update is 9.1 times as long as the median")
        left_out.get_by_role("link").click()
        expect(page.get_by_role("heading", name="Client 3")).to_be_visible()
        seen(page, "Left out 1 time")
        write(event("rollback", 3, "fid 900 is more than 5 times the best"))
        seen(page, "the run went back to round 3")
        page.goto(f"{client.base_url}/#/run/live/record")
        row = page.locator(".scores tr", has_text="FID")
        expect(row).to_contain_text("900")
        expect(row).to_contain_text("66, round 4")


def test_the_slider_goes_through_the_rounds_and_the_film_plays(visit):
    page = visit("/#/run/digits")
    slider = page.get_by_role("slider", name="Round of the samples")
    seen(page, "Samples after round 3")
    last = page.locator(".screen img").get_attribute("src")
    slider.focus()
    page.keyboard.press("Home")
    seen(page, "Samples before training")
    assert page.locator(".screen img").get_attribute("src") != last
    page.keyboard.press("ArrowRight")
    seen(page, "Samples after round 1")
    seen(page, "Clients in round 1")
    page.get_by_role("button", name="Play all rounds").click()
    seen(page, "Samples after round 3")
    expect(page.get_by_role("button", name="Play all rounds")).to_be_visible()
    assert page.locator(".screen img").evaluate("it => it.naturalWidth") > 0


def test_charts_are_read_zoomed_and_spoken_without_eyes_and_mouse(visit, written, tmp_path):
    lines = [line(r, [(k, {"d-real": 1.0}) for k in range(3)], fid=1000.0 / r) for r in range(1, 11)]
    written(lines, "many")
    with listening(tmp_path / "runs") as client:
        page = visit("/#/run/many", at=client.base_url)
        chart = page.get_by_role("slider", name=re.compile("Distance to real images"))
        expect(chart).to_have_attribute("aria-valuetext", "round 10: FID 100")
        chart.focus()
        page.keyboard.press("Home")
        expect(chart).to_have_attribute("aria-valuetext", re.compile("round 1: FID 1,000"))
        page.keyboard.press("+")
        figure = page.locator("figure", has=chart)
        expect(figure.get_by_role("button", name="Show all rounds")).to_be_visible()
        page.keyboard.press("Escape")
        expect(figure.get_by_role("button", name="Show all rounds")).to_have_count(0)
        box = chart.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 60)
        expect(figure.locator(".tip")).to_contain_text("FID")
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 60, steps=4)
        page.mouse.up()
        expect(figure.get_by_role("button", name="Show all rounds")).to_be_visible()
        figure.get_by_role("button", name="Figures as a table").click()
        expect(figure.get_by_role("row")).to_have_count(11)
        expect(figure.get_by_role("row").nth(4)).to_contain_text("250")


def test_runs_are_compared_in_one_chart(visit, written, tmp_path):
    for name, first in (("one", 100.0), ("two", 300.0)):
        written([line(r, [(k, {}) for k in range(3)], fid=first / r) for r in (1, 2, 3)], name)
    with listening(tmp_path / "runs") as client:
        page = visit(at=client.base_url)
        chart = page.get_by_role("slider", name=re.compile("Distance"))
        expect(chart).to_have_attribute("aria-valuetext", "round 3: one 33.3, two 100")
        expect(page.locator(".badge.good")).to_have_text("best of these runs")
        page.get_by_role("combobox", name="Measure").select_option("generator-loss")
        chart = page.get_by_role("slider", name=re.compile("G loss"))
        expect(chart).to_have_attribute("aria-valuetext", "round 3: one 2, two 2")
        page.get_by_role("combobox", name="Over").select_option("seconds")
        expect(chart).to_have_attribute("aria-valuetext", "after 4.50 s: one 2, two 2")
        page.locator(".run-card", has_text="two").get_by_label("compare").uncheck()
        expect(chart).to_have_attribute("aria-valuetext", "after 4.50 s: one 2")


def picture(page):
    return page.locator(".images-made img").evaluate(
        """async it => {
            const brush = new OffscreenCanvas(it.naturalWidth, it.naturalHeight).getContext("2d");
            await it.decode();
            brush.drawImage(it, 0, 0);
            return brush.getImageData(0, 0, it.naturalWidth, it.naturalHeight).data.join();
        }"""
    )


def settled(page, words):
    expect(page.locator(".result[aria-busy=false] .made")).to_contain_text(words)


def test_images_are_made_as_controls_move_and_the_same_again(visit):
    page = visit("/#/run/digits/playground")
    page.get_by_role("slider", name="Number").fill("6")
    settled(page, "6 images of round 3")
    first = picture(page)
    before = source(page)
    page.get_by_role("spinbutton", name="Seed").fill("7")
    page.wait_for_function("old => document.querySelector('.images-made img').src !== old", arg=before)
    settled(page, "6 images")
    assert picture(page) != first
    before = source(page)
    page.get_by_role("spinbutton", name="Seed").fill("0")
    page.wait_for_function("old => document.querySelector('.images-made img').src !== old", arg=before)
    settled(page, "6 images")
    assert picture(page) == first
    page.get_by_role("checkbox", name="Truncation").check()
    page.get_by_role("checkbox", name="Keep the most trusted").check()
    settled(page, "made and not kept")


def source(page):
    return page.locator(".images-made img").get_attribute("src")


def test_images_are_downloaded_with_their_provenance(visit, tmp_path):
    page = visit("/#/run/digits/playground")
    page.get_by_role("slider", name="Number").fill("3")
    settled(page, "3 images")
    for ending in ("png", "zip", "npz"):
        page.get_by_role("combobox", name="File").select_option(ending)
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Download").click()
        assert waiting.value.suggested_filename == f"digits-round-3-seed-0.{ending}"
        target = tmp_path / f"it.{ending}"
        waiting.value.save_as(target)
        reported = json.dumps(provenance.read(target))
        assert "digits" in reported
        assert "seed" in reported


def test_a_slider_goes_from_one_image_to_another(visit):
    page = visit("/#/run/digits/playground")
    page.get_by_role("button", name="Between two").click()
    page.get_by_role("slider", name="Steps").fill("5")
    seen(page, "From seed 0 to seed 1")
    expect(page.locator(".morph output")).to_have_text("1 of 5")
    shot = page.locator("canvas").evaluate("it => it.toDataURL()")
    page.get_by_role("slider", name="Step", exact=True).fill("4")
    expect(page.locator(".morph output")).to_have_text("5 of 5")
    assert page.locator("canvas").evaluate("it => it.toDataURL()") != shot


def test_a_busy_server_is_queried_again_and_what_stays_wrong_is_said(visit):
    page = visit(expected=["429", "409"])
    answers = []

    def busy(route):
        answers.append(1)
        if len(answers) < 2:
            route.fulfill(status=429, headers={"Retry-After": "1"}, json={"detail": "too many images are asked for"})
        else:
            route.continue_()

    page.route("**/generate", busy)
    page.goto(page.url + "#/run/digits/playground")
    seen(page, "The server is busy; trying again in 1 s.")
    settled(page, "40 images")
    page.unroute("**/generate")
    page.route("**/generate", lambda it: it.fulfill(status=409, json={"detail": "the generator has diverged"}))
    page.get_by_role("spinbutton", name="Seed").fill("5")
    seen(page, "the generator has diverged")
    page.unroute("**/generate")
    page.route("**/generate", lambda it: it.fulfill(status=200, body="no picture"))
    page.get_by_role("button", name="try again").click()
    seen(page, "The answer cannot be shown")
    page.unroute("**/generate")
    page.get_by_role("button", name="try again").click()
    settled(page, "40 images")


def test_a_server_that_goes_and_comes_back_is_noticed(visit):
    page = visit("/#/run/digits", expected=["gone"])
    seen(page, "Losses")
    page.context.set_offline(True)
    expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
    expect(page.locator("main")).to_contain_text("Losses")
    page.context.set_offline(False)
    expect(page.get_by_role("alert")).to_be_empty()


def test_no_runs_yet_and_a_run_that_is_deleted(visit, written, tmp_path):
    (tmp_path / "runs").mkdir()
    with listening(tmp_path / "runs") as client:
        page = visit(at=client.base_url, expected=["404"])
        seen(page, "No runs yet")
        run = written([line(1, [(0, {})], fid=1.0)])
        seen(page, "1 run")
        page.get_by_role("link", name="hand", exact=True).click()
        seen(page, "Losses")
        shutil.rmtree(run.path)
        seen(page, "This run is not there")
        page.get_by_role("link", name="All runs").click()
        seen(page, "No runs yet")
        page.goto(f"{client.base_url}/#/run/%E0%A4%A")  # cannot be decoded
        seen(page, "No runs yet")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"body": "<html>"}, "was not answered as expected"),
        ({"json": {"runs": [{"id": 3}]}}, "was not answered as expected"),
        ({"json": {"runs": [{"id": "x", "state": "running"}]}}, "This cannot be shown"),
        ({"status": 500, "json": {"detail": "a defect of the server"}}, "a defect of the server"),
    ],
)
def test_an_answer_that_cannot_be_read_is_said_and_forgotten_when_it_can(visit, answer, words):
    page = visit("/#/run/digits", expected=["500"])
    page.route("**/api/runs", lambda it: it.fulfill(**answer))
    seen(page, "Losses")
    page.get_by_role("link", name="Runs").first.click()
    seen(page, words)
    page.unroute("**/api/runs")
    seen(page, "1 run")


def test_the_page_asks_for_the_token_and_leaves_it_out_of_its_address(visit, trained):
    with listening(trained, token=TOKEN) as client:
        page = visit("/", at=client.base_url, expected=["401"])
        field = page.get_by_label("Token")
        expect(field).to_be_focused()
        field.fill("wrong")
        page.keyboard.press("Enter")
        seen(page, "That is not the token.")
        field.fill(TOKEN)
        page.keyboard.press("Enter")
        page.get_by_role("link", name="digits", exact=True).click()
        seen(page, "Samples after round 3")
        assert page.locator(".screen img").evaluate("async it => { await it.decode(); return it.naturalWidth }") > 0
        assert TOKEN not in page.url
        assert TOKEN not in page.evaluate("JSON.stringify(localStorage) + document.cookie")


def test_light_and_dark_follow_the_system_until_they_are_chosen(visit):
    ground = "getComputedStyle(document.body).backgroundColor"
    light, dark = visit(color_scheme="light"), visit(color_scheme="dark")
    assert light.evaluate(ground) != dark.evaluate(ground)
    dark.get_by_role("button", name=re.compile("Colours")).click()
    assert dark.evaluate(ground) == light.evaluate(ground)
    dark.reload()
    seen(dark, "digits")
    assert dark.evaluate(ground) == light.evaluate(ground)


SIDES = ["/", "/#/run/digits", "/#/run/digits/clients/1", "/#/run/digits/playground", "/#/run/digits/record"]


@pytest.mark.parametrize("path", SIDES)
def test_on_a_phone_nothing_sticks_out_and_every_control_has_a_name(visit, path):
    page = visit(path, viewport={"width": 360, "height": 740})
    seen(page, "digits")
    page.wait_for_load_state("networkidle") if path == "/" else page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    reported = page.locator("body").aria_snapshot()
    controls = "button|link|slider|textbox|searchbox|spinbutton|combobox|checkbox|img|progressbar"
    nameless = [row for row in reported.splitlines() if re.match(rf'\s*- ({controls})(?! ")', row)]
    assert not nameless
    assert page.locator("h1").count() == 1
