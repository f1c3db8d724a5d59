"""What tests of the page in headless Chromium share; a test file that imports it is skipped without Playwright."""

import json
import os
import re
from contextlib import contextmanager

import pytest
from PIL import Image

from tests.unit.simulations.serve.conftest import line

playwright = pytest.importorskip("playwright.sync_api", reason="needs fedgan[browser]")
expect = playwright.expect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 20_000  # milliseconds that a busy machine may take
expect.set_options(timeout=SECONDS)


def is_odd(said):
    """Returns whether a message is of something wrong, other than that a test's server has ended before its page."""
    return said.type == "error" and not re.search("ERR_(CONNECTION|INCOMPLETE|EMPTY|NETWORK)", said.text)


@contextmanager
def growing(written, rounds=3, **config):
    """Gives a run at work, and a function that writes a line of its journal."""
    run = written([], "live", clients=4, **config)
    with run.locked():
        os.utime(run.partition)
        for round in range(rounds + 1):
            Image.new("L", (60, 60), 20 * round).save(run.sample(round))

        def write(row):
            with run.journal.open("a") as file:
                file.write(json.dumps(row) + "\n")

        for round in range(1, rounds + 1):
            write(line(round, [(k, {"d-real": 1.0, "d-fake": -1.0}) for k in range(4)], fid=200.0 / round))
        yield run, write


def seen(page, text):
    expect(page.locator("body")).to_contain_text(text)
