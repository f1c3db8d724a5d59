"""The documentation as a site: built without network, with every page, every link and the API reference."""

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pages import PAGES, ROOT, slugs

for package in ("material", "mkdocstrings", "mkdocs_jupyter"):  # the extra `docs`
    pytest.importorskip(package)
site_hooks = pytest.importorskip("simulations.tools.site_hooks")

NO_NETWORK = "http://127.0.0.1:9"  # nothing listens there


def test_anchors_are_those_that_the_pages_are_written_for():
    headings = re.findall(r"^#{1,6} +([^`\[]+?)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(headings) > 5
    assert {site_hooks.slug(heading, "-") for heading in headings} <= slugs(ROOT / "README.md")


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("README.md", "index.md"),
        ("CHANGELOG.md", "project/CHANGELOG.md"),
        ("docs/data.md", "data.md"),
        ("docs/results/p1-cpu-fid.png", "results/p1-cpu-fid.png"),
        ("server/app.py", "reference/server.md"),
        ("common/objectives/hinge.py", "reference/common.objectives.md"),
        ("pyproject.toml", "source/pyproject.toml.md"),
        ("docs/results", "source/docs-results.md"),
    ],
)
def test_each_file_of_the_repository_has_its_place(file, place):
    assert site_hooks.place_of(file) == place


def test_links_in_code_stay_as_they_are():
    text = "[a](b.md) `[c](d.md)`\n```\n[e](f.md)\n```\n[g](h.md)"
    assert site_hooks._outside_code(text, str.upper) == "[A](B.MD) `[c](d.md)`\n```\n[e](f.md)\n```\n[G](H.MD)"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Returns the folder of the site, built from a checkout whose way to the network is closed."""
    place = tmp_path_factory.mktemp("site")
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1", "JUPYTER_PLATFORM_DIRS": "1", "PYTHONWARNINGS": ""}
    env |= {"http_proxy": NO_NETWORK, "https_proxy": NO_NETWORK, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", "docs/site/mkdocs.yml", "-d", str(place)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr  # strict: a broken link, anchor or docstring is an error
    return place


@pytest.mark.slow
def test_the_site_has_every_page_and_notebook_with_its_output(site):
    for page in PAGES:
        place = site_hooks.place_of(page.relative_to(ROOT).as_posix()).removesuffix(".md")
        file = site / "index.html" if place == "index" else site / place / "index.html"
        assert "<h1" in file.read_text(), page
    shown = (site / "notebooks" / "quickstart" / "index.html").read_text()
    assert "data:image/png;base64" in shown


@pytest.mark.slow
def test_the_reference_is_made_of_docstrings(site):
    page = (site / "reference" / "common.algorithms" / "index.html").read_text()
    assert 'id="common.algorithms.fedprox.FedProx"' in page
    assert "held back by a spring" in page
    assert len(list((site / "reference").iterdir())) > 30


@pytest.mark.slow
def test_links_to_code_lead_into_the_reference(site):
    page = (site / "architecture" / "index.html").read_text()
    assert 'href="../reference/server/#server.app"' in page


@pytest.mark.slow
def test_every_link_of_the_site_leads_to_a_file_of_it(site):
    """Also those of notebooks and of docstrings, which MkDocs does not check."""
    broken = []
    for page in site.rglob("*.html"):
        text = re.sub(r"<(pre|script)\b.*?</\1>", "", page.read_text(), flags=re.DOTALL)
        for target in set(re.findall(r'(?:href|src)="([^"#?]+)', text)):
            if re.match(r"[a-z]+:|//", target) or page.name == "404.html":
                continue
            found = (page.parent / unquote(target)).resolve()
            if not (found / "index.html" if target.endswith(("/", ".", "..")) else found).is_file():
                broken.append(f"{page.relative_to(site)}: {target}")
    assert broken == []
