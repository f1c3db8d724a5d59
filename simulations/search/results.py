"""What a search has found, in lines to print."""

import json
from collections.abc import Mapping

from simulations.runs.search_record import SearchRecord, Value

_FIRST = 5


def final_table(record: SearchRecord, decimals: int) -> list[str]:
    """Returns the finalists by their means, or the best trials where none was repeated, and how trials ended.

    Args:
        record: Of the search.
        decimals: Of a score.
    """
    states = [row.state for row in record.rows]
    counts = ", ".join(
        f"{states.count(state)} {state}" for state in ("complete", "pruned", "failed") if state in states
    )
    lines = [f"trials   {len(record.rows)}: {counts or 'none'}" + (f" ({record.ended})" if record.ended else "")]
    settings = {row.number: spoken(row.settings) for row in record.rows}

    def score(value: float | None) -> str:
        return "-" if value is None else f"{value:.{decimals}f}"

    if record.finalists:
        lines.append(f"{'trial':>8} {'mean':>9} {'deviation':>9} {'seeds':>5} {'picked by':>9}  settings")
        for row in record.finalists:
            numbers = f"{score(row.mean):>9} {score(row.deviation):>9} {len(row.values):>5} {score(row.first):>9}"
            lines.append(f"{row.trial:>8} {numbers}  {settings[row.trial]}")
            lines += [f"{'':>8} seed {seed}: {why}" for seed, why in row.reasons.items()]
        return lines
    scored = [row for row in record.rows if row.state == "complete" and row.value is not None]
    lines.append(f"{'trial':>8} {record.metric:>9}  settings")
    sign = 1 if record.better == "lower" else -1
    for best in sorted(scored, key=lambda row: sign * (row.value or 0.0))[:_FIRST]:
        lines.append(f"{best.number:>8} {score(best.value):>9}  {settings[best.number]}")
    return lines


def spoken(settings: Mapping[str, Value]) -> str:
    """Returns settings in a line, as ``-c`` takes them."""
    return " ".join(f"{key}={json.dumps(value)}" for key, value in settings.items())
