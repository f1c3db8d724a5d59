"""The files of a table beside its runs: JSON and Markdown, and of a study CSV and LaTeX."""

import json
from pathlib import Path

from common.files import write_atomically
from simulations.studies.collected_results import Results, collect
from simulations.studies.study_tables import as_csv, as_latex, compared
from simulations.studies.tables import machines_of, markdown


def title_of(results: Results) -> str:
    """Returns what stands above a table."""
    if results.get("kind") == "study":
        return str(results["title"])
    return f"{results['protocol']}, {results['budget']} budget: {results['title']}"


def write_table(folder: Path, real: Path | None = None) -> Results:
    """Writes ``results.json`` and ``table.md`` of a table's folder, and returns what is in them.

    Of a study also ``cells.csv`` and ``table.tex``.
    """
    results = collect(folder, real)
    write_atomically(folder / "results.json", json.dumps(results).encode())
    parts = [f"# {title_of(results)}", machines_of(results)]
    if results.get("kind") == "study":
        parts.append(compared(results))
        write_atomically(folder / "cells.csv", as_csv(results).encode())
        write_atomically(folder / "table.tex", as_latex(results).encode())
    write_atomically(folder / "table.md", ("\n\n".join(parts) + f"\n\n{markdown(results)}").encode())
    return results
