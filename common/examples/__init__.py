"""Kinds of examples: what a network must know of them, how they are stored, and sets of them. One file a kind."""

from collections.abc import Mapping

from common.examples.base import ExampleSet, ExampleSpec
from common.examples.images import ImageSet, ImageSpec
from common.examples.text import TextSet, TextSpec

SPECS: dict[str, type[ExampleSpec]] = {ImageSpec.kind: ImageSpec, TextSpec.kind: TextSpec}
"""By kind, the first of them the one that records without a kind are of."""


SETS: dict[str, type[ExampleSet]] = {ImageSet.kind: ImageSet, TextSet.kind: TextSet}
"""Sets of examples, by kind."""


def spec_from(record: Mapping[str, str | int]) -> ExampleSpec:
    """Returns the specification that ``ExampleSpec.record`` described.

    Raises:
        KeyError: An unknown kind, or a field that is missing.
        ValueError: A field with an impossible value.
    """
    return SPECS[str(record.get("kind", ImageSpec.kind))].from_record(record)


def nouns_of(record: Mapping[str, object]) -> tuple[str, str]:
    """Returns what people call one example and several, by what ``ExampleSpec.record`` gives, of any kind."""
    return SPECS.get(str(record.get("kind", ImageSpec.kind)), ExampleSpec).nouns


__all__ = [
    "SETS",
    "SPECS",
    "ExampleSet",
    "ExampleSpec",
    "ImageSet",
    "ImageSpec",
    "TextSet",
    "TextSpec",
    "nouns_of",
    "spec_from",
]
