"""What the site of the documentation has beside ``docs/``: the README, an API reference, and files that pages link to.

MkDocs calls the functions ``on_...`` (``docs/site/mkdocs.yml`` names this file). Pages keep the links that work in a
checkout, and on GitHub; here each is led to where its target is on the site.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from posixpath import normpath, relpath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("common", "client", "server", "simulations")
PROJECT = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")

_FENCE = re.compile(r"^( *)(`{3,}).*?^\1\2 *$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"(?<!`)`[^`\n]+`(?!`)")
_LINK = re.compile(r"(\]\(|(?:src|href)=\")(?![a-z]+:|#)([^)\"\s#]+)(#[^)\"\s]*)?")
_LANGUAGES = {".toml": "toml", ".py": "python", ".json": "json", ".conf": "nginx", ".service": "ini", "": "text"}
_LONGEST = 60_000  # characters of a file that is shown


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Has headings named as GitHub names them, and completes the table of contents."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slug
    listed = set(_listed(config.nav))
    more = sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name not in listed)
    pages = [
        {layer: [{name: page} for name, page in reference().items() if name.split(".")[0] == layer]} for layer in LAYERS
    ]
    config.nav = [*(config.nav or []), *([{"More": more}] if more else []), {"API reference": pages}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are not in ``docs/``."""
    pages = {place_of(name): (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", *PROJECT)}
    pages |= {name: _reference_page(package) for package, name in reference().items()}
    linked = {target for name, text in _sources() for target in _targets(name, text)}
    pages |= {place_of(name): _shown(name) for name in linked if place_of(name).startswith("source/")}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leads the links of a page to where their targets are on the site."""
    source = {place_of(name): name for name in ("README.md", *PROJECT)}.get(page.file.src_uri)
    here = source or f"docs/{page.file.src_uri}"
    if page.file.src_uri.startswith(("source/", "reference/")):
        return markdown

    def led(match: re.Match[str]) -> str:
        target = _absolute(here, match[2])
        if not (ROOT / target).exists():
            return match[0]
        place = place_of(target)
        anchor = match[3] or (
            f"#{_module(target)}" if place.startswith("reference/") and target.endswith(".py") else ""
        )
        return match[1] + relpath(place, os.path.dirname(page.file.src_uri) or ".") + anchor

    return _outside_code(markdown, lambda text: _LINK.sub(led, text))


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leads the links of a notebook to pages, which MkDocs does for Markdown alone."""
    if not page.file.src_uri.endswith(".ipynb"):
        return html

    def led(match: re.Match[str]) -> str:
        target = files.get_file_from_path(normpath(f"{os.path.dirname(page.file.src_uri)}/{match[1]}"))
        return f'href="{get_relative_url(target.url, page.url)}' if target else match[0]

    return re.sub(r'href="([^":#]+\.(?:md|ipynb))(?=["#])', led, html)


def place_of(name: str) -> str:
    """Returns where on the site a file or folder of the repository is.

    Args:
        name: Relative to the root, as ``README.md`` or ``server/app.py``.
    """
    if name == "README.md":
        return "index.md"
    if name in PROJECT:
        return f"project/{name}"
    if name.startswith("docs/") and (ROOT / name).is_file() and not name.startswith("docs/site/"):
        return name.removeprefix("docs/")
    folder = (name if name.endswith(".py") else f"{name}/").rpartition("/")[0]
    if folder.split("/")[0] in LAYERS and (name.endswith(".py") or (ROOT / name / "__init__.py").is_file()):
        return reference()[folder.replace("/", ".")]
    return f"source/{name.replace('/', '-')}.md"


def reference() -> dict[str, str]:
    """Returns the page of each package of the API reference, by the package's dotted name."""
    packages = [path.parent for layer in LAYERS for path in sorted((ROOT / layer).rglob("__init__.py"))]
    names = [path.relative_to(ROOT).as_posix().replace("/", ".") for path in packages]
    return {name: f"reference/{name}.md" for name in names}


def slug(heading: str, separator: str) -> str:
    """Returns the anchor of a heading by GitHub's rule."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", separator)


def _reference_page(package: str) -> str:
    folder = ROOT / package.replace(".", "/")
    modules = [package, *(f"{package}.{path.stem}" for path in sorted(folder.glob("*.py")) if path.stem != "__init__")]
    return f"# {package}\n\n" + "".join(f"::: {module}\n\n" for module in modules)


def _module(name: str) -> str:
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _shown(name: str) -> str:
    """Returns a page that shows a file, or lists a folder."""
    path = ROOT / name
    if path.is_dir():
        rows = "\n".join(f"- `{one.name}`" for one in sorted(path.iterdir()) if one.name != "__pycache__")
        return f"# {name}\n\n{rows}\n"
    text = path.read_text(encoding="utf-8")[:_LONGEST]
    return f"# {name}\n\n````{_LANGUAGES.get(path.suffix, 'text')}\n{text}\n````\n"


def _sources() -> Iterator[tuple[str, str]]:
    """Yields the name and the text of each page that is written by hand."""
    for path in [*(ROOT / name for name in ("README.md", *PROJECT)), *sorted((ROOT / "docs").glob("*.md"))]:
        yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def _targets(name: str, text: str) -> Iterator[str]:
    """Yields the files and folders of the repository that a page links to."""
    found: list[str] = []

    def seen(part: str) -> str:
        found.extend(match[2] for match in _LINK.finditer(part))
        return part

    _outside_code(text, seen)
    yield from (target for link in found if (ROOT / (target := _absolute(name, link))).exists())


def _absolute(page: str, link: str) -> str:
    return normpath(f"{os.path.dirname(page)}/{link}" if os.path.dirname(page) else link)


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    """Returns a text changed where it is no code."""
    parts, at = [], 0
    for match in sorted([*_FENCE.finditer(text), *_CODE.finditer(text)], key=lambda one: one.start()):
        if match.start() >= at:
            parts += [change(text[at : match.start()]), match[0]]
            at = match.end()
    return "".join(parts) + change(text[at:])


def _listed(nav: Any) -> Iterator[str]:
    for item in nav if isinstance(nav, list) else nav.values() if isinstance(nav, dict) else ():
        if isinstance(item, str):
            yield item
        else:
            yield from _listed(item)
