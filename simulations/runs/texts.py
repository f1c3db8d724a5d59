"""Generated texts: what may be asked for, how they are made, and a list of them as a notebook has it."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from torch import Tensor

from common.errors import ConfigError
from common.examples import ExampleSpec, TextSpec
from common.writing import unknown_characters, until, write_in_parts
from simulations.runs.generator import LoadedGenerator
from simulations.runs.output_place import check_target
from simulations.runs.provenance import beside
from simulations.runs.sample_requests import DEFAULT_LENGTH, MOST_IMAGES, Draw, Plain, Request, as_unicode, place
from simulations.runs.samples import Samples, write_arrays
from simulations.runs.text_files import FORMS, Text, write_texts
from simulations.runs.text_processing import SPLITS, first_of_each, in_order, normalised, word_filter

LONGEST = 100_000
_DEFAULT_NUM = 20
_MOST_SHOWN = 50
_DROPPED = {"without-words": "they hold a word of the filter", "unique": "equal to one before"}


def _several(value: Any) -> Any:
    """Returns one text as several, which a list of them is as well."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


_Unicode = Annotated[str, AfterValidator(as_unicode)]
_Several = Annotated[tuple[_Unicode, ...], BeforeValidator(_several)]


class Sampling(Draw):
    """How a text is sampled, wherever it is asked for.

    Attributes:
        prompts: What texts go on from, in turn; none: they begin.
        temperature: Below 1 likely characters are preferred; None: the model's own.
        top_p: Samples are of the likeliest characters of this much probability; None: the model's own.
        length: Characters (or bytes) of a text at most, after its prompt; it may end before.
        stop: A mark before which a text ends; empty: none.
    """

    num: Annotated[int, Plain, Field(ge=1, le=MOST_IMAGES)] = _DEFAULT_NUM
    prompts: _Several = ()
    temperature: Annotated[float, Plain, Field(ge=0.05, le=10)] | None = None
    top_p: Annotated[float, Plain, Field(gt=0, le=1)] | None = None
    length: Annotated[int, Plain, Field(ge=1, le=LONGEST)] = DEFAULT_LENGTH
    stop: _Unicode = ""

    @model_validator(mode="before")
    @classmethod
    def _every_prompt(cls, given: Any) -> Any:
        """Takes each prompt once where there are more than texts would be made by default."""
        prompts = given.get("prompts") if isinstance(given, dict) else None
        if isinstance(prompts, list | tuple) and len(prompts) > _DEFAULT_NUM and "num" not in given:
            return {**given, "num": len(prompts)}
        return given


class Processing(Request):
    """What is done to texts afterwards, in this order.

    Attributes:
        normalise: White space.
        without_words: Texts that hold one of these words or phrases are dropped.
        unique: Of equal texts the first is kept.
        sort: In alphabetical order.
        split: What else the lines of a ``.jsonl`` hold.
    """

    normalise: bool = False
    without_words: _Several = ()
    unique: bool = False
    sort: bool = False
    split: Literal["sentences", "words"] | None = None


class TextRequest(Sampling, Processing):
    """Texts, and what is done to them afterwards."""


@dataclass(frozen=True, eq=False)
class Texts(Samples):
    """Generated texts, in order. A notebook shows them.

    Attributes:
        items: Of each what was asked for and what came of it.
        labels: See ``Samples``.
        origin: Where they come from (``provenance.origin``), and what was asked for.
        dropped: How many were left out, by the option that did it.
        stored: The tokens of all that were made, int32 (num, length), as they are stored, without prompts.
        remarks: See ``Samples``.
    """

    request: ClassVar[type[Draw]] = TextRequest
    endings: ClassVar[tuple[str, ...]] = (".npz", *FORMS, "")
    places: ClassVar[str] = "a .jsonl, .txt, .csv or .npz, or to a folder (no ending)"

    items: tuple[Text, ...]
    labels: NDArray[np.int64]
    origin: Mapping[str, Any]
    dropped: Mapping[str, int]
    stored: Tensor
    remarks: tuple[str, ...] = ()

    @classmethod
    def make(cls, trained: LoadedGenerator, run: str, settings: Draw, labels: Tensor, in_turn: bool) -> Self:
        assert isinstance(settings, TextRequest)
        labels = labels_beside(trained, settings.prompts, labels) if in_turn else labels
        sampler = trained.generator.adapted(temperature=settings.temperature, top_p=settings.top_p)
        prompts = in_turn_of(settings.prompts, len(labels))
        stored = torch.cat(list(write_in_parts(sampler, labels, settings.seed, settings.length, prompts)))
        items = texts_of(trained, stored, labels, settings.prompts, settings.stop, settings.seed)
        kept, dropped = processed(items, settings)
        remarks = (*remarks_on(trained.spec, settings.prompts), *said_of(dropped, len(items)))
        options = settings.model_dump(exclude_defaults=True, exclude={"num", "seed"}, mode="json")
        origin = trained.origin(run, settings.seed) | {
            "number": len(kept),
            "made": len(items),
            "request": options,
            "dropped": dropped,
        }
        shown = np.array([item.label for item in kept], dtype=np.int64)
        return cls(tuple(kept), shown, origin, dropped, stored, remarks)

    @property
    def texts(self) -> list[str]:
        """The texts, each with its prompt first."""
        return [item.text for item in self.items]

    def __getitem__(self, which: "int | slice | Sequence[int] | NDArray[Any]") -> "Texts":
        """Returns some of the texts: one, a slice, or those that an index or a mask picks.

        Raises:
            IndexError: There are no such texts.
        """
        chosen = np.atleast_1d(np.arange(len(self))[which])
        return replace(self, items=tuple(self.items[place] for place in chosen), labels=self.labels[chosen])

    @classmethod
    def check_place(cls, kind: str, settings: Draw, out: Path, overwrite: bool, way_out: str) -> None:
        super().check_place(kind, settings, out, overwrite, way_out)
        assert isinstance(settings, TextRequest)
        ending = out.suffix.lower()
        if ending == ".npz" and (used := [name for name in sorted(Processing.model_fields) if getattr(settings, name)]):
            raise ConfigError(f"{str(out)!r} holds tokens as they were made: write to a .jsonl, or leave {used[0]} out")
        if settings.split is not None and ending != ".jsonl":
            raise ConfigError(f"split={settings.split!r} is written to a .jsonl only, not to {str(out)!r}")
        if ending in FORMS:
            check_target(beside(out), overwrite, way_out)

    def write(self, out: Path) -> None:
        if out.suffix.lower() == ".npz":
            arrays = {"examples": self.stored.numpy(), "labels": self.labels}
            write_arrays(out, arrays, self.origin)
        else:
            write_texts(self.items, out, self.origin)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        out = place("path", path)
        self.check_place("text", TextRequest.of(self.origin["request"]), out, overwrite, "give overwrite=True")
        self.write(out)
        return out

    def _repr_html_(self) -> str:
        """Returns what a notebook shows: at most the first 50 texts."""
        style = "white-space:pre-wrap;border-left:3px solid #8888;padding-left:1em"
        shown = "".join(
            f"<pre style='{style}'><b>{html.escape(item.text[: len(item.prompt)])}</b>"
            f"{html.escape(item.text[len(item.prompt) :])}</pre>"
            for item in self.items[:_MOST_SHOWN]
        )
        return f"{shown}<p>{html.escape(repr(self)[1:-1])}</p>"

    def __repr__(self) -> str:
        """Returns how many texts there are, and where they come from."""
        return f"<{len(self)} texts, of round {self.origin['round']} of {self.origin['run']!r}>"


def in_turn_of(prompts: Sequence[str], num: int) -> list[str]:
    """Returns the prompt of each of ``num`` texts; none where texts begin."""
    return [prompts[place % len(prompts)] for place in range(num)] if prompts else []


def labels_beside(trained: LoadedGenerator, prompts: Sequence[str], labels: Tensor) -> Tensor:
    """Returns labels in turn, int64 (num,), each for as many texts as there are prompts, so that all combine."""
    return trained.in_turn(len(labels)).repeat_interleave(max(1, len(prompts)))[: len(labels)]


def texts_of(
    trained: LoadedGenerator, stored: Tensor, labels: Tensor, prompts: Sequence[str], stop: str, seed: int
) -> list[Text]:
    """Returns texts with what they were made of.

    Args:
        trained: What made them.
        stored: What follows the prompts, int32 (N, length).
        labels: int64 (N,).
        prompts: Taken in turn; may be none.
        stop: A mark before which a text ends; empty: none.
        seed: Of the noise, whose draws they are from the first on.
    """
    spec, names = trained.spec, trained.class_names
    assert isinstance(spec, TextSpec)
    before = in_turn_of(prompts, len(stored)) or [""] * len(stored)
    rows = zip(stored, before, trained.shown(labels).tolist(), strict=True)
    return [
        Text(
            text=prompt + until(spec.decode(row), stop),
            prompt=prompt,
            label=label,
            class_name=names[label] if label >= 0 else "",
            seed=seed,
            index=index,
        )
        for index, (row, prompt, label) in enumerate(rows)
    ]


def processed(items: Sequence[Text], settings: Processing) -> tuple[list[Text], dict[str, int]]:
    """Returns the texts that are kept, changed and ordered as asked, and how many were dropped, by the option."""
    texts = [normalised(item.text) if settings.normalise else item.text for item in items]
    kept = [replace(item, text=text) for item, text in zip(items, texts, strict=True)]
    dropped = {}
    if settings.without_words:
        holds = word_filter(settings.without_words)
        clean = [item for item in kept if not holds(item.text)]
        dropped["without-words"], kept = len(kept) - len(clean), clean
    if settings.unique:
        first = [kept[place] for place in first_of_each([item.text for item in kept])]
        dropped["unique"], kept = len(kept) - len(first), first
    if settings.sort:
        kept = [kept[place] for place in in_order([item.text for item in kept])]
    if settings.split is not None:
        kept = [replace(item, parts={settings.split: SPLITS[settings.split](item.text)}) for item in kept]
    return kept, dropped


def said_of(dropped: Mapping[str, int], made: int) -> tuple[str, ...]:
    """Returns how many of the texts that were made are left out, and why, in words."""
    return tuple(f"{num} of {made} texts dropped: {_DROPPED[why]}" for why, num in dropped.items())


def remarks_on(spec: ExampleSpec, prompts: Sequence[str]) -> tuple[str, ...]:
    """Returns what there is to say of prompts, in words: which of their characters the model does not know."""
    assert isinstance(spec, TextSpec)
    unknown = unknown_characters(spec, prompts)
    if not unknown:
        return ()
    named = ", ".join(repr(character) for character in unknown[:20]) + (", ..." if len(unknown) > 20 else "")
    return (f"characters of the prompt that the model does not know, and reads as one unknown character: {named}",)
