"""Generated texts as files, and how to read them again."""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from common.files import read_file
from simulations.runs import provenance
from simulations.runs.output_place import new_file, new_folder

_LONGEST_LIST = 16_000_000  # bytes

RULE = "---"
_LIKE_RULE = re.compile(rf"^(\\*{RULE})$", re.MULTILINE)
_QUOTED_RULE = re.compile(rf"^\\(\\*{RULE})$", re.MULTILINE)
_TEXT = re.compile(r"\d{5,}(-label-\d+)?\.txt")


@dataclass(frozen=True)
class Text:
    """One generated text.

    Attributes:
        text: All of it, what it goes on from first.
        prompt: What it was to go on from; may be empty.
        label: The class that it was asked for, -1 where the model takes none.
        class_name: Of that class; empty where there is none.
        seed: Of the noise.
        index: Which draw of the seed it is.
        parts: Its ``sentences`` or ``words``, where those are asked for.
    """

    text: str
    prompt: str
    label: int
    class_name: str
    seed: int
    index: int
    parts: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Returns this as a line of JSON has it; without a class where there is none."""
        label = {} if self.label < 0 else {"label": self.label, "class": self.class_name}
        known = {"index": self.index, "seed": self.seed, **label, "prompt": self.prompt}
        return {**known, "text": self.text, **{name: list(parts) for name, parts in self.parts.items()}}


def as_jsonl(texts: Sequence[Text]) -> str:
    """Returns a line of JSON for each text, in Unicode."""
    return "".join(f"{json.dumps(text.record(), ensure_ascii=False)}\n" for text in texts)


def as_txt(texts: Sequence[Text]) -> str:
    r"""Returns texts one below the other, with a line ``---`` in between; ``texts_of_txt`` reads them.

    A line of a text that could be taken for one begins with one more ``\``.
    """
    return f"\n{RULE}\n".join(_LIKE_RULE.sub(r"\\\1", text.text) for text in texts) + "\n"


def texts_of_txt(content: str) -> list[str]:
    """Returns the texts that ``as_txt`` wrote, to the character."""
    return [_QUOTED_RULE.sub(r"\1", text) for text in content.removesuffix("\n").split(f"\n{RULE}\n")]


def as_csv(texts: Sequence[Text]) -> str:
    """Returns a table in CSV (RFC 4180, in UTF-8), with the names of its columns first."""
    buffer = io.StringIO(newline="")
    table = csv.writer(buffer)
    table.writerow(["index", "seed", "label", "class", "prompt", "text"])
    for it in texts:
        label = ["", ""] if it.label < 0 else [it.label, it.class_name]
        table.writerow([it.index, it.seed, *label, it.prompt, it.text])
    return buffer.getvalue()


FORMS: dict[str, Callable[[Sequence[Text]], str]] = {".jsonl": as_jsonl, ".txt": as_txt, ".csv": as_csv}
"""How texts are written to one file, by its ending."""


def write_texts(texts: Sequence[Text], out: Path, origin: Mapping[str, Any]) -> None:
    """Writes texts to a file by its ending, or to a folder, a file each, ``00042-label-1.txt``; whole, or not at all.

    Args:
        texts: At least one.
        out: A file with an ending of ``FORMS``, beside which ``<its name>.provenance.json`` says where the texts come
            from; no ending: a folder, whose ``provenance.json`` says it.
        origin: What that file holds.

    Raises:
        ConfigError: No text, or a place that cannot be written.
    """
    if not texts:
        raise ConfigError(f"{str(out)!r}: there is no text to write")
    facts = f"{json.dumps(origin, indent=2, ensure_ascii=False)}\n".encode()
    form = FORMS.get(out.suffix.lower())
    if form is None:
        with new_folder(out, stale=_TEXT) as folder:
            for text in texts:
                label = "" if text.label < 0 else f"-label-{text.label}"
                (folder / f"{text.index:05d}{label}.txt").write_bytes(text.text.encode())
            (folder / provenance.MANIFEST).write_bytes(facts)
        return
    with new_file(provenance.beside(out)) as place:
        place.write_bytes(facts)
    with new_file(out) as place:
        place.write_bytes(form(texts).encode())


def read_lines(path: Path) -> list[str]:
    """Returns the lines of a file in UTF-8 that are not empty, without what ends them.

    Raises:
        ConfigError: It cannot be read, is longer than 16 MB, is not UTF-8, or has no such line.
    """
    try:
        lines = read_file(path, _LONGEST_LIST).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{str(path)!r} is not UTF-8: byte {error.start}") from None
    except OSError as error:
        raise ConfigError(f"{str(path)!r} cannot be read: {error.strerror}") from None
    if not any(map(str.strip, lines)):
        raise ConfigError(f"{str(path)!r} has no line")
    return [line for line in lines if line.strip()]
