"""What the page says of runs: nothing that their record does not tell. In headless Chromium."""

import re

import pytest

from tests.unit.simulations.serve.browsing import expect, seen
from tests.unit.simulations.serve.conftest import event, line, listening

pytestmark = pytest.mark.slow

SETTINGS = (
    "algorithm",
    "aggregate",
    "weighting",
    "model",
    "objective",
    "data",
    "partition",
    "seed",
    "clients",
    "rounds",
)
MNIST = {"extractor": "mnist-cnn", "num-samples": 10000}


def scored(values, clients=3, **more):
    return [line(r, [(k, {}) for k in range(clients)], fid=v, **more) for r, v in enumerate(values, 1)]


def amend(page, changes):
    """Has a page get other answers about runs than the server's, as of a record that tells other things."""

    def answer(route):
        found = route.fetch().json()
        for run in found.get("runs", [found]):
            run.update(changes)
        route.fulfill(json=found)

    page.route(re.compile(r"/api/runs(/\w+)?$"), answer)


@pytest.fixture
def opened_run(visit, written, tmp_path):
    """Opens a run written by hand, whose answers are amended; and gives the list of runs with the same."""
    opened = []

    def open_run(lines, summary=None, amended=None, config=None):
        written(lines, summary=summary, **(config or {}))
        server = listening(tmp_path / "runs")
        opened.append(server)
        client = server.__enter__()
        page = visit("/#/run/hand", at=client.base_url, before=lambda page: amend(page, amended or {}))
        expect(page.get_by_role("heading", level=1)).to_have_text("hand")
        return page

    yield open_run
    for server in opened:
        server.__exit__(None, None, None)


def test_what_a_damaged_configuration_does_not_tell_is_unknown_and_why_stands_at_the_top(opened_run):
    unknown = dict.fromkeys((*SETTINGS, "progress", "seconds-left", "images", "scored-with")) | {"config": {}}
    why = "config.toml: this version knows no algorithm 'fedmystery'"
    page = opened_run(scored([9.0, 8.0]), amended=unknown | {"problem": why})
    seen(page, f"Part of this run's record cannot be read. {why}")
    seen(page, "round 2 of unknown")
    assert "round 2 of unknown" in page.title()
    facts = page.locator(".facts")
    expect(facts).to_contain_text("clientsunknownsplit: unknown")
    expect(facts).to_contain_text("algorithmunknownmodel unknown, objective unknown")
    expect(facts).to_contain_text("dataunknown")
    expect(page.locator("main")).not_to_contain_text("fedavg")
    for tab in ("Clients", "Playground", "Record", "Training"):
        page.get_by_role("link", name=tab, exact=True).click()
        seen(page, why)
        expect(page.locator("main")).not_to_contain_text("cannot be shown")
    page.get_by_role("link", name="Runs").first.click()
    seen(
        page,
        "algorithm unknown · model unknown · data unknown · split unknown · an unknown number of clients · seed unkn",
    )
    seen(page, why)
    expect(page.locator(".run-card progress")).to_have_count(0)


def test_a_finished_run_without_scores_says_why_and_is_not_called_sound(opened_run):
    why = "fid and kid are not computed: no extractor for grey images of 32x32 pixels."
    sign = {"kind": "not-scored", "severity": "warning", "round": 0, "client": None, "words": why}
    lines = [line(r, [(k, {}) for k in range(3)]) for r in (1, 2)]
    page = opened_run(lines, {"rounds": 2, "scores": {}}, {"signs": [sign], "state": "finished"})
    seen(page, "1 remark on scores")
    expect(page.locator(".signs")).to_contain_text("Not scored")
    expect(page.locator(".signs .where")).to_have_text("before round 1")
    seen(
        page,
        "Of what can be checked in 2 rounds, nothing looks wrong: nobody left out. "
        "Could not be checked: collapse, without",
    )
    expect(page.locator(".sound")).to_have_count(0)
    expect(page.locator(".facts")).to_contain_text(f"scoresnone{why}")
    page.get_by_role("link", name="Record", exact=True).click()
    seen(page, f"No scores. {why}")
    page.get_by_role("link", name="Runs").first.click()
    expect(page.locator(".run-scores")).to_contain_text(f"No scores. {why}")
    expect(page.locator("main")).not_to_contain_text("yet")


def test_a_run_at_work_whose_utility_is_left_out_may_still_get_scores(opened_run):
    words = "Utility is not computed: evaluation.utility-num-samples is 0."
    sign = {"kind": "not-scored", "severity": "warning", "round": 0, "client": None, "words": words}
    page = opened_run([line(1, [(0, {})])], amended={"signs": [sign], "state": "running"})
    expect(page.locator(".facts")).to_contain_text("scoresnot yet")
    page.get_by_role("link", name="Runs").first.click()
    expect(page.locator(".run-scores")).to_contain_text("Not scored yet.")


def test_every_score_says_what_it_was_computed_from_and_what_does_not_compare(opened_run):
    best = {"round": 2, "value": 30.0, "num-samples": 2000}
    summary = {"rounds": 2, "scores": {"fid": 26.0, "score": 9.0, "utility": 0.9}}
    amended = {"scored-with": MNIST | {"own-num-samples": {"utility": 30000}}, "best": best, "state": "finished"}
    page = opened_run(scored([40.0, 30.0]), summary, amended, config={"federation.num-rounds": 2})
    facts = page.locator(".facts")
    expect(facts).to_contain_text("FID26round 2: 10,000 images, features of mnist-cnn")
    other = "best 30 in round 2, from 2,000 images (not comparable)"
    expect(facts).to_contain_text(other)
    expect(page.locator("figure").first).to_contain_text("Computed with: 2,000 images, features of mnist-cnn.")
    page.get_by_role("link", name="Record", exact=True).click()
    seen(page, "Computed with: 10,000 images, features of mnist-cnn; utility from 30,000 generated images.")
    seen(
        page,
        "Those of the rounds before with: 2,000 images, features of mnist-cnn. Distances from different numbers of",
    )
    page.get_by_role("link", name="Runs").first.click()
    card = page.locator(".run-scores")
    expect(card).to_contain_text("10,000 images, features of mnist-cnn")
    expect(card).to_contain_text(other)
    expect(page.locator("main")).not_to_contain_text("so far")


def test_scores_of_earlier_versions_do_not_tell_what_they_are_from(opened_run):
    page = opened_run(
        scored([40.0, 30.0]), {"rounds": 2, "scores": {"fid": 26.0}}, {"scored-with": None, "state": "finished"}
    )
    facts = page.locator(".facts")
    expect(facts).to_contain_text("round 2: images and extractor unknown")
    expect(facts).to_contain_text("best 30 in round 2, from another number of images (not comparable)")


def test_best_so_far_is_said_of_a_run_at_work_alone(opened_run):
    same = {"scored-with": MNIST, "best": {"round": 2, "value": 30.0, "num-samples": 10000}}
    page = opened_run(scored([40.0, 30.0]), amended=same | {"state": "running"})
    expect(page.locator(".facts")).to_contain_text("the best so far")
    page.unroute_all()
    expect(page.locator(".pill")).to_contain_text("failed")
    expect(page.locator(".facts")).to_contain_text("the best of all scored rounds")


def test_a_run_that_failed_at_its_start_has_its_reason_and_nothing_green(opened_run):
    why = "Stopped before its first round was done: the clients' classes differ."
    page = opened_run([event("stopped", 0, "the clients' classes differ")], amended={"signs": []})
    expect(page.locator(".note.error")).to_have_text(why)
    expect(page.locator("main")).not_to_contain_text("✓")
    expect(page.locator("main")).not_to_contain_text("Nothing")
    expect(page.locator("main")).not_to_contain_text("yet")
    for tab, words in (
        ("Clients", "never trained"),
        ("Playground", "no checkpoint"),
        ("Record", "The run ended before"),
    ):
        page.get_by_role("link", name=tab, exact=True).click()
        seen(page, words)
        expect(page.locator("main")).not_to_contain_text("✓")


def test_sound_is_said_only_where_collapse_and_divergence_could_be_seen(opened_run):
    page = opened_run(scored([40.0, 30.0], score=5.0), {"rounds": 2, "scores": {"fid": 26.0}}, {"state": "finished"})
    expect(page.locator(".sound")).to_have_text("✓ Nothing looks wrong: no collapse, no divergence, nobody left out.")
    page.unroute_all()  # then it is one that failed
    expect(page.locator(".pill")).to_contain_text("failed")
    expect(page.locator(".sound")).to_have_count(0)


def test_clients_left_out_long_ago_are_not_forgotten(opened_run):
    lines = scored([9.0 - r for r in range(8)], score=5.0)
    lines[0]["refused"] = [{"partition": 1, "reason": "too long"}]
    page = opened_run(lines, amended={"signs": []})
    seen(page, "nobody left out of the latest rounds, though in 1 round before")


def test_runs_on_ones_own_files_are_not_ranked_as_they_may_be_other_images(visit, written, tmp_path):
    for name, first in (("one", 100.0), ("two", 300.0)):
        written(scored([first, first / 2]), name, **{"data.name": "npz", "data.root": name})
    with listening(tmp_path / "runs") as client:
        page = visit(at=client.base_url)
        seen(page, "2 runs")
        expect(page.locator(".run-card")).to_have_count(2)
        expect(page.locator("main")).not_to_contain_text("best of these runs")
        expect(page.locator("main")).not_to_contain_text("the lowest here")


def test_the_playground_draws_from_the_last_round_and_says_which_and_how_good(visit, trained):
    with listening(trained) as client:
        best = {"round": 2, "value": 30.0, "num-samples": 2000}
        scores = {"best": best, "distance": "fid", "quality-rounds": [2], "quality": [30.0], "scores": {}}
        opened_run = scores | {"scored-with": MNIST}
        page = visit("/#/run/digits/playground", at=client.base_url, before=lambda page: amend(page, opened_run))
        made = page.locator(".result[aria-busy=false] .made")
        expect(made).to_contain_text("40 images of round 3")
        expect(made).to_contain_text("This round was not scored.")
        generator = page.get_by_role("combobox", name="Generator")
        expect(generator.locator("option").nth(0)).to_have_text("last: round 3")
        expect(generator.locator("option").nth(1)).to_have_text("best FID: round 2")
        expect(generator).to_have_value("last")
        generator.select_option("2")
        expect(made).to_contain_text("FID of this round: 30 (2,000 images, features of mnist-cnn).")
