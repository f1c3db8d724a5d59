"""The command ``fedgan config``: what can be set, what it means, and what it may be."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common.errors import ConfigError

if TYPE_CHECKING:
    from common.config_reference import Choice, Option, Setting


def config(
    word: Annotated[
        str | None,
        typer.Argument(
            metavar="WORD", help="A key, a section, a component, an option, or any word; without: every key."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, with types and bounds as in JSON Schema.")
    ] = False,
) -> None:
    """Show what can be set with -c: each key with its default, its meaning, and its allowed values."""
    from common import config_reference

    word = word.partition("=")[0].strip() if word else None  # of a setting as it was typed
    known = config_reference.settings()
    found = known if not word else config_reference.search(word, known)
    if word and not found:
        raise ConfigError(f"{word!r}: no setting speaks of it; {_nearest(word, known)}")
    if as_json:
        typer.echo(json.dumps({"settings": [_as_json(setting) for setting in found]}))
        return
    whole = {setting.name: setting for setting in known}
    for setting in found:
        picked = setting.choices != whole[setting.name].choices or setting.name == word
        for line in _lines(setting, picked):
            typer.echo(line)


def _nearest(word: str, known: "list[Setting]") -> str:
    from common.setting_suggestions import nearest

    names = dict.fromkeys(setting.name for setting in known)
    for choice in (choice for setting in known for choice in setting.choices):
        names |= dict.fromkeys([choice.name, *(option.name for option in choice.options)])
    close = nearest(word, list(names))
    return f"did you mean {' or '.join(map(repr, close))}?" if close else "fedgan config lists every key"


def _lines(setting: "Setting", with_options: bool) -> Iterator[str]:
    value = f'"{setting.default}"' if isinstance(setting.default, str) else _written(setting.default)
    yield f"{setting.name}={value}"
    yield f"    {setting.meaning}"
    if not setting.choices or not with_options:
        more = f"; options: fedgan config {setting.name}" if setting.choices else ""
        yield f"    {setting.allowed}{more}"
        return
    for choice in setting.choices:
        yield f"    {choice.name}: {choice.meaning}"
        for option in choice.options:
            yield f"        {option.name}={_written(option.default)}  {option.meaning} ({option.allowed})"
        if choice.source:
            yield f"        source: {choice.source}"


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _as_json(setting: "Setting") -> dict[str, Any]:
    def of(option: "Option", key: str) -> dict[str, Any]:
        return {key: option.name, "meaning": option.meaning, "default": option.default, **option.schema}

    def choice_of(choice: "Choice") -> dict[str, Any]:
        options = [of(option, "name") for option in choice.options]
        return {"name": choice.name, "meaning": choice.meaning, "source": choice.source, "options": options}

    found = of(setting, "key") | {"allowed": setting.allowed}
    return found | ({"components": [choice_of(choice) for choice in setting.choices]} if setting.choices else {})
