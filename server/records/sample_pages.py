"""The samples of a run that makes text, in its report: at several temperatures, beside real texts."""

import html
import json
from collections.abc import Sequence
from pathlib import Path

from common.examples.pages import sections_of
from common.files import read_file
from server.records.run_directory import RunDirectory

STYLE = """
.texts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 14rem), 1fr)); gap: 1rem; }
.texts > div { min-width: 0; } .texts h4 { margin: .4rem 0; }
blockquote { margin: 0 0 .6rem; padding: .4rem .8rem; border-left: .2rem solid var(--line); background: var(--soft); }
blockquote { font: .9rem/1.45 Georgia, serif; white-space: pre-wrap; overflow-wrap: anywhere; }
.earlier { max-width: 40rem; }
"""

_LONGEST_PAGE = 16 * 2**20  # bytes
_MOST_EARLIER = 6

Texts = dict[str, list[str]]


def sample_pages(run: RunDirectory) -> str:
    """Returns the last samples by class, a column a temperature and one of real texts, then those of earlier rounds.

    Of earlier rounds the first text is shown. Empty where the run has no samples that are text.
    """
    rounds = sorted(run.samples.glob("round-*.txt"))
    if not rounds:
        return ""
    columns = [(_way(path), _texts(path)) for path in (*run.variants(), rounds[-1])]
    if real := _texts(run.real):
        columns.append(("real, never trained on", real))
    headings = list(dict.fromkeys(heading for _, texts in columns[:-1] for heading in texts))
    number = int(rounds[-1].stem[6:])
    parts = [
        f"<h2>Samples after round {number}</h2>",
        "<p>The same noise in each column but that of real texts. A low temperature keeps to what is likely.</p>",
        *(_class(heading, columns) for heading in headings),
        _earlier(rounds[:-1]),
    ]
    return "".join(parts)


def _class(heading: str, columns: Sequence[tuple[str, Texts]]) -> str:
    cells = "".join(
        f"<div><h4>{html.escape(way)}</h4>{''.join(_quote(text) for text in texts.get(heading, ()))}</div>"
        for way, texts in columns
    )
    title = f"<h3>{html.escape(heading)}</h3>" if heading else ""
    return f"{title}<div class=texts>{cells}</div>"


def _earlier(rounds: Sequence[Path]) -> str:
    """Returns the first text of some earlier rounds, an even pick."""
    count = min(len(rounds), _MOST_EARLIER)
    picked = [rounds[round(k * (len(rounds) - 1) / max(count - 1, 1))] for k in range(count)]
    firsts = [(int(path.stem[6:]), next(iter(_texts(path).values()), [""])[0]) for path in picked]
    rows = "".join(f"<h4>round {number}</h4>{_quote(text)}" for number, text in firsts)
    return f"<h3>The first of them over the rounds</h3><div class=earlier>{rows}</div>" if rows else ""


def _quote(text: str) -> str:
    return f"<blockquote>{html.escape(text)}</blockquote>"


def _texts(path: Path) -> Texts:
    """Returns the texts of a page by heading; none where it cannot be read."""
    return dict(sections_of(_content(path)))


def _way(path: Path) -> str:
    """Returns how a page says that its texts were made."""
    try:
        facts = json.loads(_content(path).partition("\n")[0])
    except ValueError:
        return "samples"
    return str(facts.get("way", "samples")) if isinstance(facts, dict) else "samples"


def _content(path: Path) -> str:
    try:
        return read_file(path, _LONGEST_PAGE).decode(errors="replace")
    except OSError:
        return ""
