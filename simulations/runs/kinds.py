"""What is made of the examples of each kind: one table, so that commands and Python know none by name."""

from collections.abc import Mapping
from typing import Any

from common.errors import ConfigError
from simulations.runs.image_array import Images
from simulations.runs.sample_requests import Draw
from simulations.runs.samples import Arrays, Samples
from simulations.runs.texts import Texts

KINDS: dict[str, type[Samples]] = {"images": Images, "text": Texts}
"""By kind of example; others are ``Arrays``."""


def samples_of(kind: str) -> type[Samples]:
    """Returns what examples of a kind are, once they are made."""
    return KINDS.get(kind, Arrays)


def request_of(kind: str, given: Mapping[str, Any]) -> Draw:
    """Returns the request for examples of a kind, by the names of its options; those that are None are left out.

    Raises:
        ConfigError: An option of another kind, an unknown one, or a value of another type or out of its range.
    """
    named = {name: value for name, value in given.items() if value is not None}
    known = samples_of(kind).request
    for name, value in named.items():
        whose = [other for other, samples in KINDS.items() if name in samples.request.model_fields]
        if name not in known.model_fields and whose:
            raise ConfigError(f"{name}={value!r} is for {whose[0]}, and this run makes {kind}: leave it out")
    return known.of(named)
