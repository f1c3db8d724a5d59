"""What is exported of a generator, by the kind of example that it makes: inputs, outputs, a check, words of cards."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from common.examples import TextSpec
from common.generation import balanced_labels, draw_noise, generate, in_parts
from common.writing import noise_of_texts, unknown_characters, write_in_parts
from simulations.export import card, check
from simulations.export.check import Agreement
from simulations.export.format_base import Network
from simulations.export.network import FullSequence
from simulations.runs.generator import LoadedGenerator
from simulations.runs.sample_requests import DEFAULT_LENGTH

_REFERENCE = 20
_PROMPT = "The "


class Subject(ABC):
    """A generator to be exported.

    Args:
        trained: It.
        way: What exports it, for a message.

    Raises:
        ConfigError: It makes another kind of examples.

    Attributes:
        tolerance: Largest difference of a float32 file to the run's own.
        noun: What it makes, in the plural.
    """

    tolerance: ClassVar[float]
    noun: ClassVar[str]
    equal: ClassVar[str]
    """What the share of equal ones is of."""

    compared: ClassVar[str]
    """What is compared, for the card; ``{tolerance}``: see above."""

    measured_on: ClassVar[str]
    """What a score of an export is of, in the plural."""

    measured: ClassVar[str]
    """How it is measured, for the card: ``{num}`` of them; ``{own}``: the value of the run's own generator."""

    def __init__(self, trained: LoadedGenerator, way: str) -> None:
        self.trained = trained

    @property
    @abstractmethod
    def task(self) -> str:
        """On hubs; empty: they have none."""

    @property
    @abstractmethod
    def title(self) -> str:
        """Of the card: what it makes, of which data."""

    @abstractmethod
    def inputs(self) -> dict[str, list[Any]]:
        """Returns the shape of each input, as a manifest has it."""

    @abstractmethod
    def outputs(self) -> dict[str, list[Any]]:
        """Returns the shape of each output."""

    @abstractmethod
    def signature(self) -> list[str]:
        """Returns lines of the card: what goes in and what comes out."""

    @abstractmethod
    def usage(self) -> dict[str, Any]:
        """Returns the fields of ``Format.usage``."""

    @abstractmethod
    def reference(self) -> dict[str, NDArray[Any]]:
        """Returns inputs, and what must come of them."""

    @abstractmethod
    def compare(self, network: Network) -> Agreement:
        """Returns how close an export is to the run's generator."""

    @abstractmethod
    def in_parts(self, labels: Tensor, seed: int) -> Iterator[Any]:
        """Yields the examples that ``fedgan generate`` makes with a seed, in order, some at a time."""

    @abstractmethod
    def picked(self, made: Any, places: Tensor) -> Any:
        """Returns those of a part of ``in_parts`` at places, int64 (M,)."""

    @property
    @abstractmethod
    def sized(self) -> str:
        """What one of them is like, in words that may follow their number."""


class ImageSubject(Subject):
    """Noise and labels to images."""

    tolerance = check.TOLERANCE
    noun = "images"
    equal = "bytes"
    compared = (
        "images of the same noise, in batches of several sizes: the share of pixels whose bytes are equal, and the "
        "largest difference in [-1, 1] (float32: at most {tolerance:g}, or it is not written)"
    )
    measured_on = "images"
    measured = (
        "on {num:,} images of the same noise, where the run's own generator has {own:.4g}; fewer images give a higher "
        "one, so compare within this table only."
    )

    def __init__(self, trained: LoadedGenerator, way: str) -> None:
        super().__init__(trained, way)
        self.spec = trained.images(way)

    @property
    def task(self) -> str:
        return "" if self.trained.conditional else "unconditional-image-generation"  # hubs have none that takes a class

    @property
    def title(self) -> str:
        spec = self.spec
        return f"Generator of {card.data_name(self.trained)} ({spec.size}x{spec.size}, {card.colour(spec.channels)})"

    def inputs(self) -> dict[str, list[Any]]:
        return {
            "noise": ["batch", *self.trained.generator.noise_shape, "float32, standard normal"],
            "labels": ["batch", f"int64, 0 to {self.spec.num_classes - 1}"],
        }

    def outputs(self) -> dict[str, list[Any]]:
        return {"images": ["batch", *self.spec.shape, "float32"]}

    def signature(self) -> list[str]:
        spec = self.spec
        return [
            f"- `noise`: float32 (B, {self._noise_shape}), drawn from a standard normal",
            f"- {labels_in_words(self.trained)}",
            f"- result: float32 (B, {spec.channels}, {spec.size}, {spec.size}) in [-1, 1]; B is any number",
            "- `reference.npz` holds noise, labels, and the images (bytes) that must come of them.",
        ]

    @property
    def _noise_shape(self) -> str:
        return ", ".join(map(str, self.trained.generator.noise_shape))

    def usage(self) -> dict[str, Any]:
        spec = self.spec
        return {
            "noise_shape": self._noise_shape,
            "classes": spec.num_classes,
            "channels": spec.channels,
            "size": spec.size,
        }

    def reference(self) -> dict[str, NDArray[Any]]:
        labels = self.trained.in_turn(_REFERENCE)
        noise = draw_noise(len(labels), self.trained.generator.noise_shape, seed=0)
        images = generate(self.trained.generator, labels, seed=0)
        return {"noise": noise.numpy(), "labels": labels.numpy(), "images": images.numpy()}

    def compare(self, network: Network) -> Agreement:
        return check.compare(self.trained, network)

    def in_parts(self, labels: Tensor, seed: int) -> Iterator[Tensor]:
        return in_parts(self.trained.generator, labels, seed)

    def picked(self, made: Tensor, places: Tensor) -> Tensor:
        return made[places]

    @property
    def sized(self) -> str:
        return f"{self.spec.size}x{self.spec.size}, {card.colour(self.spec.channels)}"


class TextSubject(Subject):
    """Tokens and labels to what is expected after each token."""

    tolerance = 1e-3
    noun = "texts"
    equal = "likeliest tokens"
    compared = (
        "texts of several lengths, in batches of several sizes: the share of places whose likeliest token is the same, "
        "and the largest difference of a logit (float32: at most {tolerance:g}, or it is not written)"
    )
    measured_on = "rows"
    measured = "on up to {num:,} rows of held-out text, where the run's own model has {own:.4g}."

    def __init__(self, trained: LoadedGenerator, way: str) -> None:
        super().__init__(trained, way)
        assert isinstance(trained.spec, TextSpec)
        self.spec = trained.spec

    @property
    def task(self) -> str:
        return "text-generation"

    @property
    def title(self) -> str:
        what = f"{len(self.spec.vocabulary)} characters" if self.spec.vocabulary else "bytes"
        return f"Language model of {card.data_name(self.trained)} ({what}, context {self._context})"

    @property
    def _context(self) -> int:
        return self.spec.length - 1

    def inputs(self) -> dict[str, list[Any]]:
        return {
            "tokens": ["batch", "length", f"int64, 0 to {self.spec.num_tokens - 1}"],
            "labels": ["batch", f"int64, 0 to {self.spec.num_classes - 1}"],
        }

    def outputs(self) -> dict[str, list[Any]]:
        return {"logits": ["batch", "length", self.spec.num_tokens, "float32"]}

    def signature(self) -> list[str]:
        tokens = "the characters of `vocabulary` below" if self.spec.vocabulary else "the bytes of UTF-8"
        return [
            f"- `tokens`: int64 (B, L), L from 2 to {self._context}: 0 padding, 1 the end of a text, which texts begin "
            f"with too, 2 an unknown character, 3 and on {tokens}",
            f"- {labels_in_words(self.trained)}",
            f"- result: float32 (B, L, {self.spec.num_tokens}), logits of what follows each token; B is any number",
            "- `reference.npz` holds tokens, labels, and the logits that must come of them.",
            *([f"- `vocabulary`: `{self.spec.vocabulary!r}`"] if self.spec.vocabulary else []),
        ]

    def usage(self) -> dict[str, Any]:
        vocabulary = self.spec.vocabulary or "".join(map(chr, range(256)))
        prompt = _PROMPT if not unknown_characters(self.spec, [_PROMPT]) else vocabulary[-1]
        return {
            "vocabulary": vocabulary,
            "prompt": prompt,
            "context": self._context,
            "num_tokens": self.spec.num_tokens,
        }

    @torch.inference_mode()
    def reference(self) -> dict[str, NDArray[Any]]:
        labels = self.trained.in_turn(_REFERENCE)
        tokens = self._tokens(_REFERENCE, self._context)
        logits = FullSequence(self.trained.generator)(tokens, labels)
        return {"tokens": tokens.numpy(), "labels": labels.numpy(), "logits": logits.numpy()}

    def _tokens(self, num: int, length: int) -> Tensor:
        """Returns any tokens, int64 (num, length), the same every time."""
        noise = noise_of_texts(num, self.trained.generator.noise_shape, length, seed=0)
        tokens: Tensor = (torch.special.ndtr(noise) * self.spec.num_tokens).long()
        return tokens.clamp_max(self.spec.num_tokens - 1)

    @torch.inference_mode()
    def compare(self, network: Network) -> Agreement:
        whole, largest, equal, places = FullSequence(self.trained.generator), 0.0, 0, 0
        sizes = [(1, self._context), (7, 2), (64, max(2, self._context // 2)), (24, self._context)]
        for batch, length in sizes:
            tokens, labels = self._tokens(batch, length), balanced_labels(batch, self.spec.num_classes)
            expected, found = whole(tokens, labels), network(tokens, labels)
            difference = float((expected - found).abs().max())
            largest = difference if math.isnan(difference) else max(largest, difference)
            equal += int((expected.argmax(-1) == found.argmax(-1)).sum())
            places += batch * length
        return Agreement(sum(batch for batch, _ in sizes), largest, equal / places)

    def in_parts(self, labels: Tensor, seed: int) -> Iterator[list[str]]:
        for stored in write_in_parts(self.trained.generator, labels, seed, DEFAULT_LENGTH):
            yield [self.spec.decode(row) for row in stored]

    def picked(self, made: list[str], places: Tensor) -> list[str]:
        return [made[place] for place in places.tolist()]

    @property
    def sized(self) -> str:
        return f"up to {DEFAULT_LENGTH} characters each"


def labels_in_words(trained: LoadedGenerator) -> str:
    """Returns what the input ``labels`` of an export means."""
    if trained.conditional:
        names = ", ".join(trained.class_names)
        return f"`labels`: int64 (B,), 0 to {trained.spec.num_classes - 1}: {names}"
    return "`labels`: int64 (B,), zeros; this generator is not conditional and does not look at them"


SUBJECTS: dict[str, type[Subject]] = {"images": ImageSubject, "text": TextSubject}
"""By kind of example; another kind is refused by that of images."""


def subject_of(trained: LoadedGenerator, way: str) -> Subject:
    """Returns what is exported of a generator.

    Raises:
        ConfigError: Its kind of examples is not exported so; ``way`` names the export.
    """
    return SUBJECTS.get(trained.spec.kind, ImageSubject)(trained, way)
