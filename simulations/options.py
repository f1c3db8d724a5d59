"""What commands share: arguments, settings as ``-c`` takes them, presets, and how scores are printed."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from common.errors import ConfigError

PRESETS = Path(__file__).parent / "presets"

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "-c", "--config", metavar="'KEY=VALUE ...' | FILE.toml", help="Settings, as for flwr run -c; repeatable."
    ),
]

_PAIR = re.compile(r"(\S+?)=(\'[^\']*\'|\"[^\"]*\"|\S+)")


def read_overrides(arguments: list[str] | None) -> dict[str, Any]:
    """Returns the dotted keys and values of ``-c`` options, later ones winning.

    Args:
        arguments: Each ``"key=value key='va lue'"`` with TOML values, or the name of a TOML file.

    Raises:
        ConfigError: Something that is neither.
    """
    from common.config import flatten
    from common.files import read_toml

    found: dict[str, Any] = {}
    for text in arguments or []:
        if text.endswith(".toml") and "=" not in text:
            found |= flatten(read_toml(Path(text)))
            continue
        pairs = _PAIR.findall(text)
        for key, value in pairs:
            if value[0] in "\"'" and (len(value) == 1 or value[-1] != value[0]):
                raise ConfigError(f"-c {text}: the quote after {key}= is not closed")
        if rest := _PAIR.sub("", text).strip():
            raise ConfigError(f"-c {text!r}: {rest!r} is not of the form KEY=VALUE")
        for key, value in pairs:
            try:
                found |= flatten(tomllib.loads(f"{key} = {value}"))
            except tomllib.TOMLDecodeError:
                quoted = '"' + value.strip("\"'") + '"'
                raise ConfigError(
                    f"-c {key}={value}: not a TOML value; strings need quotes: '{key}={quoted}'"
                ) from None
    return found


def read_preset(name: str) -> dict[str, Any]:
    """Returns the dotted keys and values of a preset, or of a TOML file.

    Raises:
        ConfigError: Neither is there.
    """
    from common.components import suggestion
    from common.config import flatten
    from common.files import read_toml

    path = PRESETS / f"{name}.toml"
    if path.is_file():
        return flatten(read_toml(path))
    if name.endswith(".toml") or "/" in name:
        return flatten(read_toml(Path(name)))
    known = sorted(p.stem for p in PRESETS.glob("*.toml"))
    raise ConfigError(f"{name!r}: no such preset, nor a TOML file; {suggestion(name, known)}")


def print_scores(told: Mapping[str, Any]) -> None:
    """Prints scores, one a line, then what they were made with; on stderr why there are no others.

    Args:
        told: ``scores`` and what stands beside them in a summary: ``scored-with`` and ``not-scored``.
    """
    from server.findings import scored_with_words

    scores, missing = told["scores"], told.get("not-scored", ())
    if not scores:
        typer.echo(f"no scores: {'; '.join(missing)}" if missing else "no scores")
        return
    for key, value in scores.items():
        if isinstance(value, list):
            cells = ("  - " if v is None else str(v) if isinstance(v, int) else f"{v:.2f}" for v in value)
            typer.echo(f"{key:21}{' '.join(cells)}")
        else:
            typer.echo(f"{key:21}{value:.4g}")
    typer.echo(f"{'scored with':21}{scored_with_words(told.get('scored-with'))}")
    for warning in filter(None, [(told.get("scored-with") or {}).get("warning")]):
        typer.echo(f"warning: {warning}", err=True)
    for reason in missing:
        typer.echo(reason, err=True)
