"""What the pages of the documentation say, taken apart: headings, links, blocks of code, commands and settings."""

import re
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
TOP = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
PAGES = [*(ROOT / name for name in TOP), *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def name_of(page):
    return page.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Block:
    language: str
    text: str


def blocks(page, language=None):
    """Returns the fenced blocks of code of a page, in order."""
    found = [Block(*match.groups()) for match in _FENCE.finditer(page.read_text())]
    return [block for block in found if language in (None, block.language)]


def files(page):
    """Returns the files that a page gives, by name: blocks of code whose first line is ``# NAME``."""
    heads = [(re.match(r"# (\S+\.\w+)\n", block.text), block.text) for block in blocks(page)]
    return {head[1]: text[head.end() :] for head, text in heads if head}


def prose(page):
    """Returns a page without its blocks of code."""
    return _FENCE.sub("", page.read_text())


def spans(page):
    """Returns the inline code of a page, as ``local.steps=20``."""
    return [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose(page))]


def slugs(page):
    """Returns the anchors of a page's headings, by GitHub's rule."""
    seen = Counter()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()  # a link's words count
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        seen[slug] += 1
    return {f"{slug}-{k}" if k else slug for slug, count in seen.items() for k in range(count)}


def links(page):
    """Returns the targets of a page's links and pictures that are within the repository: ``(path, anchor)``."""
    text = re.sub(r"(?<!`)`[^`]+`(?!`)", "", prose(page))
    targets = re.findall(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)", text)
    targets += re.findall(r"(?:src|href)=\"([^\"]+)\"", text)
    for target in targets:
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield (page.parent / path if path else page), anchor


def commands(page):
    """Returns every command in a page's shell blocks: its words, without what stands before it or after a pipe."""
    for block in blocks(page, "bash"):
        yield from commands_in(block.text)


def without_here_documents(text):
    """Returns shell text without what its here-documents hold."""
    return re.sub(r"<<'?(\w+)'?\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)


def commands_in(text):
    """Returns the words of each command in shell text; what a here-document holds is left out."""
    for line in re.sub(r"\\\n *", " ", without_here_documents(text)).splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = next((k for k, word in enumerate(words) if word in ("&&", "||", "|", ";")), len(words))
            command, words = words[:end], words[end + 1 :]
            while command and re.fullmatch(r"[A-Z_]+=.*|sudo|export", command[0]):
                command.pop(0)
            if command:
                yield command
