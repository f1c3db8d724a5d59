"""What an example is, for everything that handles examples without looking inside them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch

from common.errors import DataError
from common.tree import digest


class ExampleSpec(ABC):
    """What a network must know of a data set: the kind of its examples, their shape, and the number of classes.

    Implementations are frozen dataclasses, so that equal ones describe examples that fit each other.
    """

    kind: ClassVar[str]
    """Name of the kind, in messages and records: ``images``."""

    nouns: ClassVar[tuple[str, str]] = ("example", "examples")
    """What people call one example, and several."""

    preview_columns: ClassVar[int] = 10
    """How many examples of a class are shown beside each other."""

    num_classes: int
    """Labels are in [0, num_classes)."""

    @classmethod
    def counted(cls, num: int) -> str:
        """Returns a number of examples in words: ``1,200 images``."""
        return f"{num:,} {cls.nouns[num != 1]}"

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of one example as a network takes it, without the batch."""

    @abstractmethod
    def to_input(self, stored: torch.Tensor) -> torch.Tensor:
        """Returns stored examples (B, ...) as a network takes them, (B, *shape)."""

    @abstractmethod
    def to_stored(self, output: torch.Tensor) -> torch.Tensor:
        """Returns what a sampler makes, (B, *shape), as examples are stored."""

    @abstractmethod
    def preview(
        self, examples: torch.Tensor, columns: int, headings: Sequence[str] = ()
    ) -> npt.NDArray[np.uint8] | str:
        """Returns examples (N, ...), N >= 1, as they are stored, for people to look at.

        Args:
            examples: In order.
            columns: How many belong beside each other, as they have a class in common.
            headings: What each ``columns`` of them have in common, for kinds that are shown as text; empty: nothing.

        Returns:
            One picture, (height, width) or (height, width, 3), or text.
        """

    def preview_real(
        self, examples: "ExampleSet", labels: Sequence[int], headings: Sequence[str] = ()
    ) -> npt.NDArray[np.uint8] | str | None:
        """Returns real examples to be read beside samples; None, as by default: none are shown.

        Args:
            examples: Some that a network has not seen.
            labels: The classes to show, in order.
            headings: See ``preview``.
        """
        return None

    def widened(self, other: "ExampleSpec") -> "ExampleSpec | None":
        """Returns the specification that fits these examples and those of ``other``; None: there is none.

        By default they have to be the same.
        """
        return self if self == other else None

    @abstractmethod
    def record(self) -> dict[str, str | int]:
        """Returns this as JSON has it, with kebab-case keys; the kind is among them, but for images."""

    @classmethod
    @abstractmethod
    def from_record(cls, record: Mapping[str, str | int]) -> Self:
        """Returns what ``record`` described.

        Raises:
            KeyError: A field is missing.
            ValueError: A field has an impossible value.
        """

    @property
    def form(self) -> str:
        """What one example is like, in words; by default its shape."""
        return "x".join(map(str, self.shape))

    @abstractmethod
    def __str__(self) -> str:
        """Returns this in words, as in ``28x28 images with 1 channel(s) of 10 class(es)``."""


@dataclass(frozen=True, eq=False)
class ExampleSet(ABC):
    """Examples of one shape, with their labels.

    Attributes:
        stored: The examples (N, ...).
        labels: (N,) int64, not negative.

    Raises:
        DataError: Another shape or dtype, or not one label for each example.
    """

    kind: ClassVar[str]
    """Name of the kind, in messages."""

    stored: torch.Tensor
    labels: torch.Tensor

    def __post_init__(self) -> None:
        """Refuses tensors of another shape or dtype than declared."""
        self.check_examples()
        num = len(self.stored)
        if self.labels.dtype != torch.int64 or tuple(self.labels.shape) != (num,):
            found = f"{tuple(self.labels.shape)} {self.labels.dtype}"
            raise DataError(f"labels are {found}, not ({num},) torch.int64, one for each of the {self.kind}")

    @abstractmethod
    def check_examples(self) -> None:
        """Checks shape and dtype of the examples.

        Raises:
            DataError: They are not as the kind stores them.
        """

    @abstractmethod
    def spec(self, num_classes: int) -> ExampleSpec:
        """Returns what a network must know of these examples, with labels of so many classes."""

    def options(self) -> dict[str, Any]:
        """Returns what else it takes to make a set of some of these examples, by name, as JSON has it; here nothing."""
        return {}

    def overlapping(self) -> npt.NDArray[np.bool_]:
        """Returns whether each example begins with the end of the one before it, (N,); by default none does."""
        return np.zeros(len(self), bool)

    def __len__(self) -> int:
        """Returns the number of examples."""
        return len(self.labels)

    def label_counts(self, num_classes: int) -> list[int]:
        """Returns how many examples each of the ``num_classes`` classes has."""
        return [int(count) for count in torch.bincount(self.labels, minlength=num_classes)]

    def subset(self, indices: npt.NDArray[np.int64]) -> Self:
        """Returns a copy of the examples at ``indices``, (M,) int64 in [0, N), in that order."""
        return type(self)(*self.take(torch.from_numpy(indices)), **self.options())

    def joined(self, other: "ExampleSet") -> Self:
        """Returns a copy of these examples with those of another set, of the same kind and shape, after them."""
        stored, labels = torch.cat([self.stored, other.stored]), torch.cat([self.labels, other.labels])
        return type(self)(stored, labels, **self.options())

    def take(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns a copy of the examples (M, ...) and labels (M,) at ``indices``, (M,) int64."""
        return self.stored[indices], self.labels[indices]

    def located(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Returns tensors that hold examples (M, ...) and labels (M,), shared with others, and where in them these are.

        Places are (N,) int64; None: these are all of them, in order.
        """
        return self.stored, self.labels, None

    def view(self, indices: npt.NDArray[np.int64]) -> "ExampleSet":
        """Returns what ``subset`` does without a copy of the examples, until all of them are asked for."""
        return _View(self, torch.from_numpy(indices))

    def digest(self) -> str:
        """Returns the first 16 hex digits of a SHA-256 of examples and labels."""
        return digest({self.kind: self.stored, "labels": self.labels})[:16]


class _View(ExampleSet):
    """Some of the examples of another set, copied only as they are taken."""

    def __init__(self, whole: ExampleSet, rows: torch.Tensor) -> None:
        self.__dict__.update(_whole=whole, _rows=rows, labels=whole.labels[rows], kind=whole.kind)

    @property
    def stored(self) -> torch.Tensor:
        """(N, ...), a copy."""
        found: torch.Tensor = self.__dict__["_whole"].stored[self.__dict__["_rows"]]
        return found

    def located(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        whole, labels, places = self.__dict__["_whole"].located()
        rows: torch.Tensor = self.__dict__["_rows"]
        return whole, labels, rows if places is None else places[rows]

    def check_examples(self) -> None:
        """Does nothing: the whole set was checked."""

    def subset(self, indices: npt.NDArray[np.int64]) -> Any:
        return self.__dict__["_whole"].subset(self.__dict__["_rows"].numpy()[indices])

    def take(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        examples, labels = self.__dict__["_whole"].take(self.__dict__["_rows"][indices])
        return examples, labels

    def spec(self, num_classes: int) -> ExampleSpec:
        spec: ExampleSpec = self.__dict__["_whole"].spec(num_classes)
        return spec
