"""What sources of text have in common: texts by who or what they are from, cut into rows of tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from common.datasets.base import UNLABELLED, Dataset, DataSource
from common.datasets.remarks import printable, worded
from common.errors import ConfigError, DataError
from common.examples import TextSet
from common.examples.text import pack, vocabulary_of

TOO_FEW = "nothing is held out of {n} [source|sources] of fewer than {least} texts"

Tokens = Literal["characters", "bytes"]


@dataclass(frozen=True)
class TextsOfSource:
    """The texts of one source, in order.

    Attributes:
        name: Of the source: a role, a file, an author. No other has it.
        texts: Any characters, line breaks too; none is empty.
        labels: The class of each.
    """

    name: str
    texts: tuple[str, ...]
    labels: tuple[int, ...]

    def part(self, rows: slice) -> "TextsOfSource":
        """Returns some of the texts."""
        return TextsOfSource(self.name, self.texts[rows], self.labels[rows])


class TextDataSource(DataSource):
    """Base of the data sources of text."""

    context: int = Field(64, ge=2, le=4096, description="tokens that a network sees at once")
    tokens: Tokens = Field("characters", description="what a token is: a character of the data, or a byte of UTF-8")
    held_out: float = Field(0.2, gt=0, lt=1, description="share of each source's texts, the last ones, to hold out")

    @property
    def vocabulary_of_data(self) -> bool:
        return self.tokens == "characters"

    def dataset(
        self,
        sources: Sequence[TextsOfSource],
        *,
        place: Path | None = None,
        image_size: int = 0,
        class_names: tuple[str, ...] = UNLABELLED,
        remarks: tuple[str, ...] = (),
    ) -> Dataset:
        """Returns the texts as rows of ``context + 1`` tokens, each of which begins with half of the row before it.

        The last texts of each source, ``held_out`` of their number rounded down, are held out; of a single
        source with too few texts for that, the end of its last one.

        Args:
            sources: Each with at least one text.
            place: Where they were read, for messages.
            image_size: What ``DataSource.load`` was given.
            class_names: Of the labels.
            remarks: See ``Dataset``.

        Raises:
            ConfigError: ``image_size`` is set.
            DataError: Nothing to train on or to hold out, or too many different characters.
        """
        name = self.component_name() + (f" {printable(place)}" if place else "")
        if image_size:
            raise ConfigError(
                f"data.image-size={image_size}, but data.name={self.component_name()!r} holds text: leave it at 0"
            )
        if not sources:
            raise DataError(f"{name}: there is no text")
        trained, held_out = zip(*(self._divided(source, alone=len(sources) == 1) for source in sources), strict=True)
        if not any(part.texts for part in held_out):
            raise DataError(
                f"{name}: no source has {_least(self.held_out)} texts, of which one would be held out; hold out more"
                f' (data.name="{self.component_name()} held-out=0.5"), or put more texts into one source'
            )
        if not any(part.texts for part in trained):
            raise DataError(f"{name}: there is no text to train on beside what is held out")
        if few := sum(not part.texts for part in held_out):
            remarks = (*remarks, worded(TOO_FEW, few).replace("{least}", str(_least(self.held_out))))
        is_bytes = self.tokens == "bytes"
        vocabulary = "" if is_bytes else vocabulary_of(text for source in sources for text in source.texts)
        train, train_sources = self._rows(trained, vocabulary)
        test, test_sources = self._rows(held_out, vocabulary)
        return Dataset(
            name,
            train,
            test,
            class_names,
            labelled=class_names != UNLABELLED,
            remarks=remarks,
            train_sources=train_sources,
            test_sources=test_sources,
            source_names=tuple(source.name for source in sources),
            parted_by_rule=True,
        )

    def _divided(self, source: TextsOfSource, *, alone: bool) -> tuple[TextsOfSource, TextsOfSource]:
        """Returns the texts to train on and those to hold out."""
        count = len(source.texts) - int(len(source.texts) * self.held_out)
        if count < len(source.texts) or not alone:
            return source.part(slice(count)), source.part(slice(count, None))
        *others, last = source.texts
        cut = len(last) - max(1, int(len(last) * self.held_out))
        trained = tuple(text for text in (*others, last[:cut]) if text)
        return (
            TextsOfSource(source.name, trained, source.labels[: len(trained)]),
            TextsOfSource(source.name, (last[cut:],), source.labels[-1:]),
        )

    def _rows(
        self, sources: Sequence[TextsOfSource], vocabulary: str
    ) -> tuple[TextSet, np.ndarray[tuple[int], np.dtype[np.int64]]]:
        """Returns the rows of each source, class by class, and which source each row is from."""
        length = self.context + 1
        overlap = length - max(1, self.context // 2)
        packed, of, labels = [], [], []
        for place, source in enumerate(sources):
            for label in sorted(set(source.labels)):
                texts = [text for text, its in zip(source.texts, source.labels, strict=True) if its == label]
                packed.append(pack(texts, length, overlap, is_bytes=not vocabulary))
                of.append(np.full(len(packed[-1]), place))
                labels.append(np.full(len(packed[-1]), label))
        rows = torch.from_numpy(np.concatenate(packed))
        return TextSet(rows, torch.from_numpy(np.concatenate(labels)), overlap, vocabulary), np.concatenate(of)


def _least(share: float) -> int:
    """Returns the least number of texts of which a share is one."""
    return next(count for count in range(1, 1_000_000) if int(count * share))
