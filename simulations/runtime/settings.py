"""Settings as ``-c`` takes them, and presets: read, or refused with what to write instead."""

import re
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import ConfigError

PRESETS = Path(__file__).parents[1] / "presets"

_PAIR = re.compile(r"(\S+?)=(\'[^\']*\'|\"[^\"]*\"|\S+)")
_TYPOGRAPHIC = "“”„‟‘’‚«»‹›"
_TRUTHS = {"true": "true", "yes": "true", "on": "true", "false": "false", "no": "false", "off": "false"}
_NUMBER_AND_UNIT = re.compile(r"([+-]?\d*\.?\d+)(%|[^\W\d]+)")
_OTHER_FILES = (".json", ".yaml", ".yml", ".ini", ".cfg", ".txt", ".conf")


def read_overrides(arguments: Sequence[str] | None) -> dict[str, Any]:
    """Returns the dotted keys and values of ``-c`` options, later ones winning.

    Args:
        arguments: Each ``"key=value key='va lue'"`` with TOML values, or the name of a TOML file.

    Raises:
        ConfigError: Something that is neither.
    """
    from common.config_values import flatten
    from common.files import read_toml

    found: dict[str, Any] = {}
    for text in arguments or []:
        if text.lower().endswith(".toml") and ("=" not in text or _is_file(text)):
            found |= flatten(read_toml(Path(text)))
        else:
            found |= _read_pairs(text)
    return whole_numbers(found)


def whole_numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings in which a number that is written like ``1e3`` or ``5.0`` is a whole one, where its key is."""
    return {key: _whole(key, value) for key, value in values.items()}


def _whole(key: str, value: Any) -> Any:
    """Returns a number that is written like ``1e3`` or ``5.0`` as the whole number that the key wants."""
    from common.config import RunConfig

    is_whole = isinstance(value, float) and value.is_integer() and RunConfig.keys().get(key) is int
    return int(value) if is_whole else value


def read_preset(name: str) -> dict[str, Any]:
    """Returns the dotted keys and values of a preset, or of a TOML file.

    Raises:
        ConfigError: Neither is there.
    """
    from common.config_values import flatten
    from common.files import read_toml

    path = PRESETS / f"{name.lower()}.toml"
    if path.is_file():
        return flatten(read_toml(path))
    if name.lower().endswith(".toml") or ("/" in name and not Path(name).is_dir() and "=" not in name):
        return flatten(read_toml(Path(name)))
    raise ConfigError(f"{name!r}: no such preset, nor a TOML file; {_instead_of_preset(name)}")


def shown(key: str, value: object) -> str:
    """Returns ``-c KEY=VALUE`` as it is typed in a shell."""
    if not isinstance(value, str):
        return f"-c {key}={str(value).lower() if isinstance(value, bool) else value}"
    return f"-c '{key}=\"{value}\"'" if "\\" not in value else f"-c \"{key}='{value}'\""


def likely_source(place: Path) -> str:
    """Returns the data source that reads a place: by the ending of a file, or of most files in a folder."""
    from common.datasets import jsonl, pictures, text_folder
    from common.datasets.folders import scan
    from common.datasets.remarks import Remarks
    from common.errors import DataError

    endings = {"image-folder": pictures.endings(), "text-folder": text_folder.ENDINGS, "jsonl": jsonl.ENDINGS}
    if not place.is_dir():
        ending = place.suffix.lower()
        return next(
            (source for source, known in endings.items() if ending in known and source != "image-folder"), "npz"
        )
    try:
        return max(endings, key=lambda source: len(scan(place, endings[source], Remarks(place))))
    except DataError:
        return "image-folder"


def _instead_of_preset(name: str) -> str:
    """Returns what a name is that is none of a preset."""
    from common.component_tables import TABLES
    from common.components import suggestion

    path, typed = Path(name), shlex.quote(name)
    if "=" in name:
        return f"a setting follows -c, and several stand in one pair of quotes: -c {typed}"
    if (path / "config.toml").is_file():
        return f"it is a run directory: go on with --resume --out {typed}, or begin anew with {name}/config.toml"
    held = {
        "image-folder": "it is a folder; if it holds images",
        "text-folder": "it is text",
        "jsonl": "it is JSON Lines",
        "npz": "it is a file of arrays",
    }
    if path.is_dir() or (path.is_file() and path.suffix.lower() in (".npz", ".jsonl", ".ndjson", ".txt", ".md")):
        source = likely_source(path)
        return f"{held[source]}: {shown('data.name', source)} {shown('data.root', name)}"
    choices = [key for key, table in TABLES.items() if name in table]
    if choices:
        return f"it is a choice of {choices[0]}: {shown(choices[0], name)}"
    named = "the name of a file of settings ends with .toml; " if path.is_file() else ""
    return named + suggestion(name, sorted(p.stem for p in PRESETS.glob("*.toml")))


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # no name of a file is so long
        return False


def _read_pairs(text: str) -> dict[str, Any]:
    from common.config_values import flatten

    if text.startswith("="):  # of -c=KEY=VALUE
        right = shlex.quote(text[1:]) if text[1:] else "KEY=VALUE"
        raise ConfigError(f"-c{text}: a space, not =, stands after -c: -c {right}")
    pairs = _PAIR.findall(text)
    for key, value in pairs:
        if value[0] in "\"'" and (len(value) == 1 or value[-1] != value[0]):
            raise ConfigError(f"-c {text}: the quote after {key}= is not closed")
    if rest := _PAIR.sub("", text).strip():
        raise ConfigError(f"-c {text!r}: {_instead_of_rest(rest, text)}")
    found: dict[str, Any] = {}
    for number, (key, value) in enumerate(pairs):
        try:
            read = flatten(tomllib.loads(f"{key} = {value}"))
        except tomllib.TOMLDecodeError:
            raise ConfigError(f"-c {key}={value}: {_instead_of_value(key, value, pairs[number + 1 :])}") from None
        texts = [one for one in read.values() if isinstance(one, str)]
        if value[0] == '"' and "\\" in value and not all(map(str.isprintable, texts)):
            raise ConfigError(f"-c {key}={value}: {_single_quotes(key, value)}")  # "C:\new" is TOML, of two lines
        if twice := found.keys() & read.keys():
            raise ConfigError(f"-c {text!r}: {', '.join(sorted(twice))} is given twice; leave one out")
        found |= read
    return found


def _instead_of_rest(rest: str, text: str) -> str:
    """Returns why what is left of a text beside pairs is none, and what to write."""
    reason, pair = f"{rest!r} is not of the form KEY=VALUE", re.fullmatch(r"([\w.-]+):\s*(\S+)", rest)
    if rest.startswith("#") or " #" in rest:
        return f"{reason}; comments can stand in a TOML file: -c FILE.toml"
    if re.search(r"\s=|=\s", rest):
        return f"{reason}; there are no spaces around =: -c {shlex.quote(re.sub(r' *= *', '=', text))}"
    if rest.endswith("="):
        return f"{reason}: there is no value"
    if pair:
        reason += f"; write {pair[1]}={pair[2]}"
    elif _is_file(text) or text.lower().endswith(_OTHER_FILES):
        reason += "; settings are read from a TOML file, whose name ends with .toml"
    elif rest in {path.stem for path in PRESETS.glob("*.toml")}:
        reason += f"; it is a preset: fedgan simulate {rest}"
    return reason


def _instead_of_value(key: str, value: str, following: Sequence[tuple[str, str]]) -> str:
    """Returns why a value cannot be read, and what to write.

    Args:
        key: Its key, which may be unknown.
        value: As it was written.
        following: Pairs after it, which may belong to it.
    """
    from common.component_tables import TABLES
    from common.config import RunConfig
    from common.setting_suggestions import nearest

    keys: Mapping[str, type] = RunConfig.keys()
    meant = key if key in keys else next(iter(nearest(key, keys, 1)), "")
    kind = keys.get(meant, str)
    own = [f" {name}={inner}" for name, inner in following if key in TABLES and name not in keys]
    whole = value + "".join(own)
    if value[0] in _TYPOGRAPHIC:
        return f"these are typographic quotes; write {_quoted(key, whole.strip(_TYPOGRAPHIC))}"
    if value[0] == '"' and "\\" in value:
        return _single_quotes(key, value)
    if value[-1] in ",;" or re.search(r"[,;][\w.-]+=", value):
        return "settings are separated by spaces, without commas: -c 'KEY=VALUE KEY=VALUE'"
    if kind is not str:
        return _instead_of_plain(key, value, kind, RunConfig.descriptions()[meant])
    return f"not a TOML value; strings need quotes: {_quoted(key, whole)}"


def _instead_of_plain(key: str, value: str, kind: type, meaning: str) -> str:
    """Returns the same of a key whose value is a number, or true or false, by its type and its description."""
    if kind is bool:
        return f"write {key}={_TRUTHS[value.lower()]}" if value.lower() in _TRUTHS else "expected true or false"
    if number := _number(value, kind):
        return f"{number[0]}; write {key}={number[1]}"
    if unit := _NUMBER_AND_UNIT.fullmatch(value):
        if unit[2] == "%":
            return f"a share is a number from 0 to 1; write {key}={float(unit[1]) / 100:.15g}"
        return f"a number has no unit ({meaning})"
    return "expected a number"


def _number(text: str, kind: type) -> tuple[str, str] | None:
    """Returns what keeps a text from being a number, and the number; None if it is none."""
    if re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+", text) and kind is int:
        return "a number has no commas", text.replace(",", "")
    if re.fullmatch(r"[+-]?\d*,\d+(e[+-]?\d+)?", text, re.IGNORECASE):
        return "a decimal comma", f"{float(text.replace(',', '.')):.15g}"
    try:
        return "not a TOML number", f"{float(text):.15g}"  # .5 and 5. and 007
    except ValueError:
        return None


def _quoted(key: str, value: str) -> str:
    bare = value.strip("\"'")
    return f"'{key}=\"{bare}\"'" if "\\" not in bare else f"\"{key}='{bare}'\""


def _single_quotes(key: str, value: str) -> str:
    return f"a backslash in double quotes begins an escape; in single quotes it does not: {_quoted(key, value)}"
