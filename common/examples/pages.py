"""Pages of texts for people to read: texts under headings, and back again from what was written."""

from collections.abc import Iterable, Sequence

Section = tuple[str, Sequence[str]]
"""A heading, empty for none, and the texts below it."""

NOTHING = "(no text)"
"""What stands for a text without a character."""

_HEADING, _RULE, _INDENT = "# ", "---", "    "


def page(sections: Iterable[Section]) -> str:
    """Returns texts as a page: each indented by four spaces, apart by a rule, below the heading of its section.

    What is not indented is no text, so a page can be taken apart again whatever the texts are.
    """
    return "\n\n".join(_section(heading, texts) for heading, texts in sections)


def sections_of(page: str) -> list[tuple[str, list[str]]]:
    """Returns the sections of a page, with the texts as they are shown; lines of no kind that is known are left out."""
    found: list[tuple[str, list[list[str]]]] = []
    for line in page.split("\n"):
        if line.startswith(_HEADING):
            found.append((line.removeprefix(_HEADING), [[]]))
            continue
        if not found and line:
            found.append(("", [[]]))
        if line == _RULE:
            found[-1][1].append([])
        elif line.startswith(_INDENT):
            found[-1][1][-1].append(line.removeprefix(_INDENT))
        elif not line and found and found[-1][1][-1]:
            found[-1][1][-1].append("")
    whole = [(heading, ["\n".join(lines).strip("\n") for lines in texts if lines]) for heading, texts in found]
    return [(heading, texts) for heading, texts in whole if texts]


def _section(heading: str, texts: Sequence[str]) -> str:
    shown = f"\n{_RULE}\n".join(_text(text) for text in texts)
    return f"{_HEADING}{' '.join(heading.split())}\n\n{shown}" if heading else shown


def _text(text: str) -> str:
    """Returns a text as it stands on a page: without what is not to be seen at its ends, and control characters."""
    plain = "".join(letter if letter.isprintable() or letter in "\n\t" else " " for letter in text)
    lines = [f"{_INDENT}{line}".rstrip() for line in plain.strip().split("\n")]
    return "\n".join(lines) if plain.strip() else f"{_INDENT}{NOTHING}"
