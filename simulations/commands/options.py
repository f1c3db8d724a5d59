"""What commands share: arguments, options, how scores are printed, and how many runs end."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from common.errors import TerminatedError, in_words

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what is there already.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "-c", "--config", metavar="'KEY=VALUE ...' | FILE.toml", help="Settings, as for flwr run -c; repeatable."
    ),
]
WorkersOption = Annotated[int | None, typer.Option("--workers", min=1, help="Clients at a time; default: one a core.")]
EngineOption = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="threads|processes|batched|auto|fastest",
        help="As of fedgan simulate; on a GPU batched is many times as fast.",
    ),
]

_MOST_LISTED = 40  # figures of clients or classes in a line; of more it is said how they are spread


@contextmanager
def interruptible() -> Iterator[None]:
    """Says that the same command goes on where it was interrupted, when it is."""
    try:
        yield
    except (KeyboardInterrupt, TerminatedError) as error:
        typer.echo(f"{in_words(error)}; the same command goes on", err=True)
        raise


def end_with(failed: Sequence[str]) -> None:
    """Says which of a command's runs failed, a phrase each, and has it exit with 1 if any did."""
    for line in failed:
        typer.echo(f"failed: {line}", err=True)
    if failed:
        raise typer.Exit(1)


def print_scores(summary: Mapping[str, Any]) -> None:
    """Prints scores, one a line, then what they were made with; on stderr why there are no others.

    Args:
        summary: ``scores`` and what stands beside them in a summary: ``scored-with`` and ``not-scored``.
    """
    from server.records.scored_with import scored_with_words

    scores, missing = summary["scores"], summary.get("not-scored", ())
    if not scores:
        typer.echo(f"no scores: {'; '.join(missing)}" if missing else "no scores")
        return
    width = max(21, 1 + max(map(len, scores)))
    for key, value in scores.items():
        if isinstance(value, list):
            typer.echo(f"{key:{width}}{_listed(value)}")
        else:
            typer.echo(f"{key:{width}}{value:.4g}")
    typer.echo(f"{'scored with':{width}}{scored_with_words(summary.get('scored-with'))}")
    for warning in filter(None, [(summary.get("scored-with") or {}).get("warning")]):
        typer.echo(f"warning: {warning}", err=True)
    for reason in missing:
        typer.echo(reason, err=True)


def _listed(values: Sequence[float | None]) -> str:
    """Returns figures of clients or classes in a line: all of them, of many how they are spread."""
    known = sorted(value for value in values if value is not None)
    if len(values) > _MOST_LISTED and known:
        return f"{known[0]:.3g} to {known[-1]:.3g}, {known[len(known) // 2]:.3g} in the middle of {len(known)}"
    return " ".join("  - " if v is None else str(v) if isinstance(v, int) else f"{v:.2f}" for v in values)
