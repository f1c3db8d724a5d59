"""The playground of a run that writes, in headless Chromium."""

import json

import pytest

from common.datasets import DATASETS
from simulations.runtime import in_process
from tests.unit.families.test_texts import config
from tests.unit.families.verses import Verses
from tests.unit.simulations.serve.browsing import expect, seen
from tests.unit.simulations.serve.conftest import listening

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS, "verses", Verses)
        folder = tmp_path_factory.mktemp("writing")
        in_process.simulate(config(folder / "run"), num_workers=1)
        with listening(folder) as client:
            yield client


def test_texts_appear_and_go_on_from_the_prompt(visit, client):
    page = visit("/#/run/run/playground")
    texts = page.locator(".texts-made article .text")
    expect(texts).to_have_count(4)
    seen(page, "4 texts of round 2")
    page.get_by_label("Prompt").fill("The owl \u00e9")
    seen(page, "the model does not know, and reads as one unknown character: '\u00e9'.")
    expect(texts.nth(2).locator("b")).to_have_text("The owl \u00e9")
    page.get_by_role("button", name="men").click()
    expect(page.locator(".texts-made article .quiet")).to_have_text(["men"] * 4)
    with page.expect_request(lambda request: request.method == "POST") as sent:
        page.get_by_role("checkbox", name="Top-p").check()
    requested = json.loads(sent.value.post_data)
    assert (requested["prompts"], requested["labels"], requested["top-p"]) == (["The owl \u00e9"], [1], 0.95)
    expect(page.get_by_role("region", name="Texts")).to_have_attribute("aria-busy", "false")
    page.get_by_text("Afterwards").click()
    page.get_by_label("single spaces").check()
    page.get_by_label("no text twice").check()
    page.get_by_label("Without texts that hold").fill("nobody writes this, the owl ")
    seen(page, "4 of 4 texts dropped: they hold a word of the filter.")
    seen(page, "0 texts of round 2")
    page.get_by_label("Without texts that hold").fill("")
    expect(texts).not_to_have_count(0)
    page.get_by_label("File").select_option("jsonl")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download").click()
    assert saved.value.suggested_filename == "run-round-2-seed-0.jsonl"
