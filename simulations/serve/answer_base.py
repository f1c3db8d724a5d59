"""What answers of the server have in common: their keys, and numbers that JSON can write."""

import math
from typing import Any

from pydantic import BaseModel, ConfigDict

from common.components import kebab


class Answer(BaseModel):
    """Base of all answers: keys are in kebab-case."""

    model_config = ConfigDict(frozen=True, alias_generator=kebab, populate_by_name=True)


def finite(value: Any) -> Any:
    """Returns a value of a JSON file with null for numbers that JSON, or who reads it, has no way to write."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and not -(2**63) < value < 2**63:
        return None
    if isinstance(value, dict):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value
