"""Text: rows of characters, or of bytes, cut from the texts of each source.

They are stored as Unicode code points, so that which token a character is depends on the specification alone: sites
whose texts hold other characters agree on one vocabulary without a look at each other's texts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch

from common.errors import DataError
from common.examples.base import ExampleSet, ExampleSpec
from common.examples.pages import page

END, PAD, UNKNOWN = -1, -2, -3
"""Stored beside code points: the end of a text, nothing (before the first text and after the last), a character that
no one has named."""

PAD_TOKEN, END_TOKEN, UNKNOWN_TOKEN = 0, 1, 2
"""What a network takes for them."""

NUM_SPECIAL = 3
"""The first token of the vocabulary."""

MOST_CHARACTERS = 20_000
"""Networks hold a vector for each character of a vocabulary."""

PREVIEW_LENGTH = 240
"""Characters of a text that is shown to people, at most, where rows are shorter than that."""

_UNREADABLE = "\N{REPLACEMENT CHARACTER}"
_NUM_BYTES = 256


@dataclass(frozen=True)
class TextSpec(ExampleSpec):
    """What a network must know of texts.

    Attributes:
        length: Tokens in a row, at least 2: one more than a network sees at once.
        overlap: Tokens at the start of a row that are the end of the row before it, in [1, length): they are context,
            and what is scored of a row is what comes after them, so that every character is scored once.
        vocabulary: The characters that have a token, ascending and distinct; empty: texts are bytes of UTF-8.
        num_classes: Labels are in [0, num_classes).
    """

    kind: ClassVar[str] = "text"
    nouns: ClassVar[tuple[str, str]] = ("row of text", "rows of text")
    preview_columns: ClassVar[int] = 4

    length: int
    overlap: int
    vocabulary: str
    num_classes: int

    def __post_init__(self) -> None:
        """Refuses rows that are too short, and vocabularies that are no ascending sets."""
        if not 1 <= self.overlap < self.length:
            raise ValueError(f"rows of {self.length} tokens cannot overlap by {self.overlap}")
        if any(here >= after for here, after in zip(self.vocabulary, self.vocabulary[1:], strict=False)):
            raise ValueError("the characters of a vocabulary are not ascending and distinct")

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length,)

    @property
    def num_tokens(self) -> int:
        """How many tokens there are, the special ones among them."""
        return NUM_SPECIAL + (len(self.vocabulary) or _NUM_BYTES)

    @cached_property
    def _points(self) -> torch.Tensor:
        """The code point of each character of the vocabulary, ascending, int32."""
        points = [ord(character) for character in self.vocabulary] or list(range(_NUM_BYTES))
        return torch.tensor(points, dtype=torch.int32)

    @cached_property
    def _copies(self) -> dict[torch.device, torch.Tensor]:
        """``_points`` by device: a step that is recorded as a CUDA graph may not copy from the CPU."""
        return {self._points.device: self._points}

    def to_input(self, stored: torch.Tensor) -> torch.Tensor:
        """Returns token ids (B, length), int64, of rows as they are stored, (B, length), int32."""
        points = self._copies.get(stored.device)
        if points is None:
            points = self._copies[stored.device] = self._points.to(stored.device)
        place = torch.searchsorted(points, stored).clamp_max(len(points) - 1)
        tokens = torch.where(points[place] == stored, place + NUM_SPECIAL, UNKNOWN_TOKEN)
        tokens = torch.where(stored == PAD, PAD_TOKEN, tokens)
        return torch.where(stored == END, END_TOKEN, tokens)

    def to_stored(self, output: torch.Tensor) -> torch.Tensor:
        """Returns rows (B, L), int32, as they are stored, of token ids (B, L), int64."""
        special = torch.tensor([PAD, END, UNKNOWN], dtype=torch.int32)
        return torch.cat([special, self._points]).to(output.device)[output]

    def encode(self, text: str) -> torch.Tensor:
        """Returns the token ids (L,), int64, of a text, without an end."""
        return self.to_input(torch.from_numpy(points_of(text, is_bytes=not self.vocabulary)))

    def decode(self, row: torch.Tensor) -> str:
        """Returns the text of a row, (L,), as it is stored: up to its first end, without what is nothing."""
        return text_of(row, is_bytes=not self.vocabulary)

    def preview(self, examples: torch.Tensor, columns: int, headings: Sequence[str] = ()) -> str:
        """Returns the texts as a page, see ``pages.page``: one below the other, those of a class below its heading."""
        texts = [self.decode(row) for row in examples]
        if not headings:
            return page([("", texts)])
        return page((name, texts[at * columns :][:columns]) for at, name in enumerate(headings))

    def preview_real(self, examples: ExampleSet, labels: Sequence[int], headings: Sequence[str] = ()) -> str | None:
        """Returns whole texts, at equal distances over those of each class, and as long as samples at most."""
        sections = []
        for place, label in enumerate(labels if headings else [None]):
            rows = examples.stored if label is None else examples.stored[examples.labels == label]
            texts = unpack(rows, self)
            shown = self.preview_columns if label is not None else self.preview_columns**2
            step = max(1, len(texts) // shown)
            cut = [shortened(text, max(self.length, PREVIEW_LENGTH)) for text in texts[::step][:shown]]
            sections.append((headings[place] if headings else "", cut))
        sections = [(heading, texts) for heading, texts in sections if texts]
        return page(sections) if sections else None

    def widened(self, other: ExampleSpec) -> ExampleSpec | None:
        """Returns this with the characters of ``other`` too, where they differ in nothing else."""
        if not isinstance(other, TextSpec) or bool(self.vocabulary) != bool(other.vocabulary):
            return None
        both = replace(self, vocabulary="".join(sorted({*self.vocabulary, *other.vocabulary})))
        return both if replace(other, vocabulary=both.vocabulary) == both else None

    def record(self) -> dict[str, str | int]:
        return {
            "kind": self.kind,
            "length": self.length,
            "overlap": self.overlap,
            "vocabulary": ranges_of(self.vocabulary),
            "num-classes": self.num_classes,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, str | int]) -> Self:
        length, overlap = int(record["length"]), int(record["overlap"])
        return cls(length, overlap, from_ranges(str(record["vocabulary"])), int(record["num-classes"]))

    @property
    def form(self) -> str:
        what = f"of {len(self.vocabulary)} different ones" if self.vocabulary else "of UTF-8"
        return f"{self.length} {'characters' if self.vocabulary else 'bytes'} each, {what}"

    def __str__(self) -> str:
        tokens = f"{len(self.vocabulary)} characters" if self.vocabulary else "bytes"
        return f"text in rows of {self.length} of {tokens}, of {self.num_classes} class(es)"


@dataclass(frozen=True, eq=False)
class TextSet(ExampleSet):
    """Rows of text: ``stored`` is (N, L) int32, code points or ``END``, ``PAD`` and ``UNKNOWN``.

    Attributes:
        overlap: See ``TextSpec``.
        vocabulary: Of the data set as a whole, see ``TextSpec``: a set of some rows knows the others' characters too.
    """

    kind: ClassVar[str] = "text"

    overlap: int = 1
    vocabulary: str = ""

    def check_examples(self) -> None:
        shape = tuple(self.stored.shape)
        if self.stored.dtype != torch.int32 or len(shape) != 2 or not 1 <= self.overlap < shape[1]:
            raise DataError(
                f"text is {shape} {self.stored.dtype}, not (N, L) torch.int32 with L more than the overlap"
                f" of {self.overlap}"
            )

    def overlapping(self) -> npt.NDArray[np.bool_]:
        rows, found = self.stored, np.zeros(len(self), bool)
        found[1:] = (rows[1:, : self.overlap] == rows[:-1, -self.overlap :]).all(1).numpy()
        return found

    def options(self) -> dict[str, Any]:
        return {"overlap": self.overlap, "vocabulary": self.vocabulary}

    def spec(self, num_classes: int) -> TextSpec:
        return TextSpec(self.stored.shape[1], self.overlap, self.vocabulary, num_classes)


def points_of(text: str, *, is_bytes: bool = False) -> npt.NDArray[np.int32]:
    """Returns a text's code points (L,), or its bytes in UTF-8."""
    if is_bytes:
        return np.frombuffer(text.encode(), np.uint8).astype(np.int32)
    return np.frombuffer(text.encode("utf-32-le"), np.int32).copy()


def text_of(row: torch.Tensor, *, is_bytes: bool = False) -> str:
    """Returns the text of a stored row (L,): up to its first end, without what is nothing."""
    points = row.cpu().numpy()
    ends = np.flatnonzero(points == END)
    points = points[: ends[0]] if len(ends) else points
    points = points[points != PAD]
    if is_bytes:
        return bytes(points[points >= 0].tolist()).decode(errors="replace")
    return "".join(chr(point) if point >= 0 else _UNREADABLE for point in points)


def vocabulary_of(texts: Iterable[str]) -> str:
    """Returns the characters of texts, ascending.

    Raises:
        DataError: More than ``MOST_CHARACTERS``.
    """
    characters: set[str] = set()
    for text in texts:
        characters.update(text)
    if len(characters) > MOST_CHARACTERS:
        raise DataError(
            f"the texts hold {len(characters):,} different characters, more than {MOST_CHARACTERS:,}: set tokens=bytes"
        )
    return "".join(sorted(characters))


def ranges_of(characters: str) -> str:
    """Returns ascending characters as ranges of code points, hexadecimal, which any record can hold: ``a 20-7e``."""
    ranges: list[list[int]] = []
    for point in map(ord, characters):
        if ranges and ranges[-1][1] == point - 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    return " ".join(f"{first:x}" if first == last else f"{first:x}-{last:x}" for first, last in ranges)


def from_ranges(text: str) -> str:
    """Returns the characters that ``ranges_of`` has written.

    Raises:
        ValueError: It is no list of ranges, or of too many characters.
    """
    ends = [[int(point, 16) for point in one.split("-")] for one in text.split()]
    if any(len(pair) > 2 for pair in ends) or sum(pair[-1] - pair[0] + 1 for pair in ends) > MOST_CHARACTERS:
        raise ValueError(f"no list of ranges of characters: {text[:80]!r}")
    return "".join(chr(point) for pair in ends for point in range(pair[0], pair[-1] + 1))


def pack(texts: Sequence[str], length: int, overlap: int, *, is_bytes: bool = False) -> npt.NDArray[np.int32]:
    """Returns the rows (N, length) that the texts of one source make, in order: ``END t1 END t2 END ...``.

    Each row begins with the last ``overlap`` tokens of the row before it; ``PAD`` stands before the first end and after
    the last, so that every token but the first end stands once at a position of ``overlap`` or later.
    """
    end = np.array([END], np.int32)
    parts = [end, *(part for text in texts for part in (points_of(text, is_bytes=is_bytes), end))]
    stream = np.concatenate([np.full(overlap - 1, PAD, np.int32), *parts])
    stride = length - overlap
    num_rows = max(1, -(-(len(stream) - overlap) // stride))
    padded = np.full(overlap + num_rows * stride, PAD, np.int32)
    padded[: len(stream)] = stream
    return np.lib.stride_tricks.sliding_window_view(padded, length)[::stride].copy()


def unpack(rows: torch.Tensor, spec: TextSpec) -> list[str]:
    """Returns the texts that stored rows (N, length) are cut from, in order: the inverse of ``pack``.

    A row that does not begin with the end of the row before it begins a text; so does one after an ``END``. Texts
    without a character are left out.
    """
    mark, rows = torch.tensor([END], dtype=torch.int32), rows.cpu()
    if not len(rows):
        return []
    goes_on = [False, *(rows[1:, : spec.overlap] == rows[:-1, -spec.overlap :]).all(1).tolist()]
    parts = (row[spec.overlap :] if goes else torch.cat([mark, row]) for row, goes in zip(rows, goes_on, strict=True))
    stream = torch.cat([*parts, mark])
    ends = (stream == END).nonzero().squeeze(1).tolist()
    texts = (spec.decode(stream[start + 1 : end]) for start, end in pairwise(ends))
    return [text for text in texts if text]


def shortened(text: str, most: int) -> str:
    """Returns a text, or its beginning with an ellipsis, so that it has ``most`` characters at most."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"
