"""What sources of text have in common: texts by who or what they are from, cut into rows of tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from common.datasets.base import UNLABELLED, Dataset, DataSource
from common.errors import ConfigError, DataError
from common.examples import TextSet
from common.examples.text import pack, vocabulary_of

Tokens = Literal["characters", "bytes"]


@dataclass(frozen=True)
class TextsOfSource:
    """The texts of one source, in order.

    Attributes:
        name: Of the source: a role, a file, an author.
        texts: Any characters, line breaks too; none is empty.
        label: The class of all of them.
    """

    name: str
    texts: tuple[str, ...]
    label: int = 0


class TextDataSource(DataSource):
    """Base of the data sources of text."""

    context: int = Field(64, ge=2, le=4096, description="tokens that a network sees at once")
    tokens: Tokens = Field("characters", description="what a token is: a character of the data, or a byte of UTF-8")
    held_out: float = Field(0.2, gt=0, lt=1, description="share of each source's texts, the last ones, to hold out")

    def dataset(
        self,
        sources: Sequence[TextsOfSource],
        *,
        image_size: int = 0,
        class_names: tuple[str, ...] = UNLABELLED,
        remarks: tuple[str, ...] = (),
    ) -> Dataset:
        """Returns the texts as rows of ``context + 1`` tokens, each of which begins with half of the row before it.

        The last texts of each source, ``held_out`` of their number rounded down, are held out; of a single source with
        too few texts for that, the end of its last one.

        Args:
            sources: At least one, each with at least one text.
            image_size: What ``DataSource.load`` was given.
            class_names: Of the labels.
            remarks: See ``Dataset``.

        Raises:
            ConfigError: ``image_size`` is set.
            DataError: Nothing to train on or to hold out, or too many different characters.
        """
        name = self.component_name()
        if image_size:
            raise ConfigError(f"data.image-size={image_size}, but data.name={name!r} holds text: leave it at 0")
        if not sources:
            raise DataError(f"{name}: there is no text")
        trained, held_out = zip(*(self._divided(source, alone=len(sources) == 1) for source in sources), strict=True)
        if not any(held_out):
            raise DataError(f"{name}: no source has {_least(self.held_out)} texts, of which one would be held out")
        is_bytes = self.tokens == "bytes"
        vocabulary = "" if is_bytes else vocabulary_of(text for source in sources for text in source.texts)
        train, train_sources = self._rows(sources, trained, vocabulary)
        test, test_sources = self._rows(sources, held_out, vocabulary)
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
        )

    def _divided(self, source: TextsOfSource, *, alone: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Returns the texts to train on and those to hold out."""
        texts = source.texts
        count = int(len(texts) * self.held_out)
        if count or not alone:
            return texts[: len(texts) - count], texts[len(texts) - count :]
        cut = len(texts[-1]) - max(1, int(len(texts[-1]) * self.held_out))
        last = (texts[-1][:cut],) if cut > 0 else ()
        return (*texts[:-1], *last), (texts[-1][cut:],)

    def _rows(
        self, sources: Sequence[TextsOfSource], texts: Sequence[tuple[str, ...]], vocabulary: str
    ) -> tuple[TextSet, np.ndarray[tuple[int], np.dtype[np.int64]]]:
        """Returns the rows of some texts of each source, and which source each row is from."""
        length = self.context + 1
        overlap = length - max(1, self.context // 2)
        packed = {
            place: pack(those, length, overlap, is_bytes=not vocabulary) for place, those in enumerate(texts) if those
        }
        if not packed:
            raise DataError(f"{self.component_name()}: there is no text to train on")
        counts = [len(rows) for rows in packed.values()]
        labels = torch.tensor([sources[place].label for place in packed]).repeat_interleave(torch.tensor(counts))
        rows = torch.from_numpy(np.concatenate(list(packed.values())))
        return TextSet(rows, labels, overlap, vocabulary), np.repeat(np.fromiter(packed, np.int64), counts)


def _least(share: float) -> int:
    """Returns the least number of texts of which a share is one."""
    return next(count for count in range(1, 1_000_000) if int(count * share))
