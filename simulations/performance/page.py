"""The page of figures, made of the stored JSON and of remarks alone.

PAGE.md             written by ``python -m simulations.performance --page PAGE.md``, never by hand
PAGE.json           the figures, written by ``python -m simulations.performance --json PAGE.json``
PAGE.toml           remarks, by hand:

    intro = "What stands above the table of bars."
    [roofline]
    text = "What stands below a benchmark's figures."
    [roofline.remarks]
    quickstart-1 = "What there is to say of one figure."
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from common.errors import ConfigError
from common.files import write_atomically
from simulations.benchmark.results_page import read_remarks
from simulations.performance.bars import BARS
from simulations.performance.figures import Result

Results = dict[str, Result]


def read_results(file: Path) -> Results:
    """Returns stored results by benchmark; none if there is no file.

    Raises:
        ConfigError: The file is not one of this kind.
    """
    if not file.exists():
        return {}
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return {name: Result.model_validate(result) for name, result in stored.items()}
    except (ValueError, AttributeError, ValidationError) as error:
        raise ConfigError(f"{str(file)!r} does not hold results of benchmarks: {error}") from None


def write_results(file: Path, results: Results) -> None:
    """Writes results, a figure a line, so that a change can be read in a diff."""
    parts = []
    for name, result in results.items():
        head = json.dumps(result.model_dump(mode="json", exclude={"figures", "skipped"}))
        lists = []
        for key in ("figures", "skipped"):
            items = ",\n    ".join(json.dumps(item.model_dump(mode="json")) for item in getattr(result, key))
            lists.append(f'"{key}": [\n    {items}\n  ]' if items else f'"{key}": []')
        parts.append(f"{json.dumps(name)}: {head[:-1]}, {', '.join(lists)}}}")
    write_atomically(file, ("{\n" + ",\n".join(parts) + "\n}\n").encode())


def write_page(page: Path, file: Path, notes: Path) -> None:
    """Writes the page.

    Args:
        page: Where.
        file: The figures.
        notes: The remarks; need not exist.

    Raises:
        ConfigError: There are no figures, they are of ``--quick``, or a remark is about nothing that is there.
    """
    results = read_results(file)
    if not results:
        raise ConfigError(f"{str(file)!r} holds no figures: run python -m simulations.performance --json {file}")
    if quick := [name for name, result in results.items() if result.quick]:
        raise ConfigError(f"{str(file)!r}: {', '.join(quick)} ran with --quick, which measures nothing")
    known = {name: [figure.key for figure in result.figures] for name, result in results.items()}
    remarks = read_remarks(notes, known, ("benchmark", "figure"))
    parts = [
        "# Performance",
        "<!-- Written by `python -m simulations.performance --page`: change its remarks, or measure again. -->",
        remarks.get("intro", "").strip(),
        _how(file, notes),
        "## Bars",
        _bars(results),
        *(_section(name, result, remarks.get(name, {})) for name, result in results.items()),
    ]
    write_atomically(page, ("\n\n".join(part for part in parts if part) + "\n").encode())


def _how(file: Path, notes: Path) -> str:
    return (
        "Figures are medians, with the least and the most of the repeats in brackets. A ratio is of two things that "
        "were measured in turn in one run, so whatever else the machine was doing hit both.\n\n"
        "```bash\n"
        f"python -m simulations.performance --json docs/{file.name}    # all; --only NAME measures one anew\n"
        f"python -m simulations.performance --page docs/{file.stem}.md      # writes this page, with {notes.name}\n"
        "```"
    )


def _bars(results: Results) -> str:
    lines = ["| what | bar | here | |", "|---|---|---|---|"]
    for bar in BARS:
        figure = result.figure(bar.key) if (result := results.get(bar.benchmark)) else None
        shown = str(figure) if figure else "not measured"
        verdict = "" if figure is None else "met" if bar.met_by(figure) else "**missed**"
        name = f"[{bar.benchmark}](#{bar.benchmark})" if result else bar.benchmark  # its section, if there is one
        lines.append(f"| {name}: {bar.what} | {bar} | {shown} | {verdict} |")
    return "\n".join(lines)


def _section(name: str, result: Result, notes: Mapping[str, Any]) -> str:
    table = ["| | |", "|---|---|", *(f"| {figure.what} | {figure} |" for figure in result.figures)]
    times = {len(figure.values) for figure in result.figures}
    repeats = f"{min(times)} to {max(times)}" if len(times) > 1 else f"{max(times, default=0)}"
    parts = [
        f"## {name}",
        result.title,
        "\n".join(table) if result.figures else "",
        "\n".join(f"- {skipped}" for skipped in result.skipped),
        "\n".join(f"- *{_what(result, key)}*: {text}" for key, text in notes.get("remarks", {}).items()),
        notes.get("text", "").strip(),
        f"Machine: {result.machine}; values a figure: {repeats}; took {result.seconds:,.0f} s.",
    ]
    return "\n\n".join(part for part in parts if part)


def _what(result: Result, key: str) -> str:
    figure = result.figure(key)
    assert figure is not None, "remarks were checked"
    return figure.what
