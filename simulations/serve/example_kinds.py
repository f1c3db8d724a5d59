"""What kind of examples a run's clients hold and its model makes: images, texts or others."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from common import components
from common.datasets import DATASETS
from common.errors import ConfigError
from common.examples import ImageSpec, TextSpec, nouns_of
from common.generation import held_classes
from common.models import MODELS, Model
from simulations.runs.run_view import View
from simulations.serve.answer_base import Answer
from simulations.serve.trust import Trust, trusts_of


class ClassesOfExamples(Answer):
    """The classes of examples, of whatever kind."""

    classes: int
    class_names: list[str] = Field(description="by label")
    drawn: list[int] = Field(
        description="labels that clients have examples of: those of balanced, and of rows or sections of samples"
    )
    conditional: bool | None = Field(description="whether examples of a chosen label can be made; null: not known")


class ExampleKind(ClassesOfExamples):
    """What clients hold, and the run makes more of."""

    kind: str = Field(description="images, text or another one")
    one: str = Field(description="what people call one example")
    many: str = Field(description="what they call several")


class ImageKind(ClassesOfExamples):
    """What the generator makes."""

    channels: int
    size: int = Field(description="height and width in pixels")
    trusts: list[Trust] = Field(description="what `keep` can go by, the first unless another is named; empty: nothing")


class TextKind(ClassesOfExamples):
    """What the model writes."""

    characters: int | None = Field(description="different ones that it knows; null: its tokens are bytes")
    context: int = Field(description="tokens that it looks back at")


def examples_of(view: View) -> ExampleKind | None:
    """Returns what a run's examples are; None before clients have answered."""
    shape = view.roster.get("shape")
    if not shape:
        return None
    one, many = nouns_of(shape)
    return ExampleKind(kind=str(shape.get("kind", ImageSpec.kind)), one=one, many=many, **_classes(view, view.classes))


def images_of(view: View) -> ImageKind | None:
    """Returns what a run's images are; None before clients have answered, and where their examples are no images."""
    shape = view.roster.get("shape")
    if not shape or "channels" not in shape:
        return None
    return ImageKind(
        channels=shape["channels"],
        size=shape["size"],
        trusts=_trusts(view, shape),
        **_classes(view, shape["num-classes"]),
    )


def texts_of(view: View) -> TextKind | None:
    """Returns what a run's texts are; None before clients have answered, and where their examples are no texts."""
    shape = view.roster.get("shape")
    if not shape or shape.get("kind") != TextSpec.kind:
        return None
    try:
        spec = TextSpec.from_record(shape)
    except (KeyError, ValueError, TypeError):
        return None
    return TextKind(
        characters=len(spec.vocabulary) or None, context=spec.length - 1, **_classes(view, spec.num_classes)
    )


def _classes(view: View, num_classes: int) -> dict[str, Any]:
    counts = (client["label-counts"] for client in view.roster.get("clients", ()))
    return {
        "classes": num_classes,
        "class_names": class_names(view),
        "drawn": list(held_classes(counts, num_classes)),
        "conditional": _conditional(view),
    }


def class_names(view: View) -> list[str]:
    """Returns the name of each class; its number, where the record is of before names were written with the roster."""
    names = view.roster.get("class-names") or view.summary.get("class-names") or []
    if view.classes and len(names) != view.classes:
        names = []
    return [str(name) for name in names] or [str(label) for label in range(view.classes)]


def _model(view: View) -> Model | None:
    try:
        return components.parse("model", MODELS, view.text("model") or "")
    except ConfigError:
        return None


def _conditional(view: View) -> bool | None:
    model = _model(view)
    return None if model is None else view.classes > 1 and model.conditional


def _trusts(view: View, shape: Mapping[str, int]) -> list[Trust]:
    model = _model(view)
    try:
        source = components.parse("data.name", DATASETS, view.text("data.name") or "")
    except ConfigError:
        source = None
    return trusts_of(
        has_adversary=model is not None and bool(model.roles.adversaries),
        shape=(shape["channels"], shape["size"], shape["num-classes"]),
        holds_digits=source is not None and source.holds_digits,
        conditional=bool(_conditional(view)),
    )
