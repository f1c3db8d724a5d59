"""The files of the page: they come with the package, belong together, and load nothing from elsewhere."""

import re
import subprocess
import sys
import zipfile
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest

from simulations.serve.security import HEADERS

PAGE = files("simulations.serve") / "page"
TEXTS = {entry.name: entry.read_text(encoding="utf-8") for entry in PAGE.iterdir()}
SCRIPTS = {name: text for name, text in TEXTS.items() if name.endswith(".js")}
NAMESPACE = "http://www.w3.org/2000/svg"  # a name that is not fetched


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found, self.within = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.within.append(tag)

    def handle_data(self, data):
        assert not (self.within and self.within[-1] == "script" and data.strip()), "a script in the page itself"


@pytest.mark.parametrize("name", TEXTS)
def test_no_file_names_an_address_elsewhere(name):
    text = TEXTS[name].replace(NAMESPACE, "")
    assert not re.search(r"//[\w\[]|https?:|@import|url\(", text)


def test_scripts_and_styles_are_files_of_their_own_as_the_security_policy_wants():
    policy = HEADERS["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "style-src 'self';" in policy
    for tag, attributes in Elements(TEXTS["index.html"]).found:
        assert not any(name == "style" or name.startswith("on") for name in attributes), tag
        assert tag != "style"
        for name in ("src", "href"):
            target = attributes.get(name, "#main")
            assert target.startswith("#") or target in {"docs", *TEXTS}
    assert not any(re.search(r"\beval\(|new Function|innerHTML|document\.write", text) for text in SCRIPTS.values())


@pytest.mark.parametrize("name", TEXTS)
def test_no_address_begins_at_the_root_as_a_proxy_may_put_the_page_below_a_path(name):
    assert not re.search(r"""["'`(]/(api|docs|healthz|metrics|openapi|\?)""", TEXTS[name])


def test_nothing_is_held_open_as_a_browser_has_six_connections_to_a_server():
    assert not [name for name, text in SCRIPTS.items() if re.search(r"EventSource|WebSocket", text)]


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_import_is_of_what_another_file_exports(name):
    for names, target in re.findall(r'import \{([^}]+)\} from "\./([^"]+)"', SCRIPTS[name]):
        for requested in names.split(","):
            assert re.search(rf"export (async )?(function|const|class|let) {requested.strip()}\b", SCRIPTS[target]), (
                requested
            )
            assert len(re.findall(rf"\b{requested.strip()}\b", SCRIPTS[name])) > 1, (
                f"{requested} is imported for nothing"
            )


def test_no_file_is_long():
    assert all(text.count("\n") < 300 for text in TEXTS.values())


@pytest.mark.slow
def test_the_page_is_in_the_wheel(tmp_path):
    root = Path(__file__).parents[4]
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", str(tmp_path), str(root)]
    built = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    if built.returncode:
        pytest.skip(f"pip cannot build a wheel here: {built.stderr.strip().splitlines()[-1]}")
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    assert {f"simulations/serve/page/{name}" for name in TEXTS} <= set(names)
