"""The page in many windows at once, in hidden ones, and below a path of a proxy: in headless Chromium."""

import re

import pytest

from tests.unit.simulations.serve.browsing import expect, growing, seen
from tests.unit.simulations.serve.conftest import line, listening

pytestmark = pytest.mark.slow

WINDOWS = 10  # a browser has six connections to a server


def windows_beside(page, paths):
    """Opens more windows of the same browser, which share its connections."""
    opened = []
    for path in paths:
        other = page.context.new_page()
        other.goto(path)
        opened.append(other)
    return opened


def hide(page, is_hidden):
    """Has a page believe that its window is hidden, or shown again."""
    page.evaluate(
        """it => {
            Object.defineProperty(document, "hidden", { configurable: true, get: () => it });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        is_hidden,
    )


def test_ten_windows_of_runs_show_all_news(visit, written, tmp_path):
    written(
        [line(r, [(k, {}) for k in range(3)], fid=9.0) for r in (1, 2)], "over", summary={"rounds": 2, "scores": {}}
    )
    with growing(written) as (_, write), listening(tmp_path / "runs") as client:
        page = visit("/#/run/live", at=client.base_url)
        live = [page, *windows_beside(page, [f"{client.base_url}/#/run/live"] * (WINDOWS - 1))]
        windows_beside(page, [f"{client.base_url}/#/run/over"] * 4)
        for window in live:
            seen(window, "Round 4 of 10 is under way.")
        write(line(4, [(k, {}) for k in range(4)]))
        for window in live:
            seen(window, "Round 5 of 10 is under way.")
        live[-1].get_by_role("link", name="Playground").click()
        seen(live[-1], "There is no generator yet")


def test_a_hidden_window_asks_nothing_and_catches_up_when_it_is_shown(visit, written, tmp_path):
    with growing(written) as (_, write), listening(tmp_path / "runs") as client:
        page = visit("/#/run/live", at=client.base_url)
        seen(page, "Round 4 of 10 is under way.")
        (other,) = windows_beside(page, [f"{client.base_url}/#/run/live"])
        hide(page, True)
        requested = []
        for round in (4, 5, 6):
            write(line(round, [(k, {}) for k in range(4)]))
            seen(other, f"Round {round + 1} of 10 is under way.")
            if round == 4:  # what was under way when it was hidden is over
                page.on("request", lambda it: requested.append(it.url))
        assert not requested
        hide(page, False)
        seen(page, "Round 7 of 10 is under way.")


def test_below_a_path_of_a_proxy_everything_is_requested_below_it(visit, trained):
    with listening(trained, below="/fedgan") as client:
        base = str(client.base_url).rstrip("/")
        page = visit("/", at=base)  # and what is asked elsewhere fails the test
        page.get_by_role("link", name="digits", exact=True).click()
        seen(page, "Samples after round 3")
        assert page.locator(".screen img").evaluate("async it => { await it.decode(); return it.naturalWidth }") > 0
        page.get_by_role("link", name="Playground").click()
        expect(page.locator(".result[aria-busy=false] .made")).to_contain_text("40 images of round 3")
        page.get_by_text("The same with curl").click()
        expect(page.locator("pre code")).to_contain_text(f"curl -s {base}/api/runs/digits/generate")
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Download").click()
        assert waiting.value.suggested_filename == "digits-round-3-seed-0.png"
        assert page.get_by_role("link", name="API").evaluate("it => it.href") == f"{base}/docs"
        page.get_by_role("link", name="Runs").first.click()
        seen(page, "1 run")
        page.wait_for_function("document.querySelector('.thumb img')?.naturalWidth > 0")
        assert re.match(rf"{base}/#/", page.url)


def test_the_heading_keeps_the_focus_however_late_its_run_comes(visit):
    page = visit()
    held, is_late = [], [True]

    def hold(route):
        if is_late:
            held.append(route)
        else:
            route.continue_()

    page.route("**/api/runs/digits", hold)
    page.get_by_role("link", name="digits", exact=True).click()
    expect(page.get_by_role("heading", name="digits")).to_be_focused()
    is_late.clear()
    for route in held:
        route.continue_()
    seen(page, "Samples after round 3")
    expect(page.get_by_role("heading", name="digits")).to_be_focused()
