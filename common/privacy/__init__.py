"""What a run promises of its clients' examples: one promise a file."""

from common.privacy.base import Privacy, PrivateMechanism
from common.privacy.example import ExamplePrivacy
from common.privacy.none import NoPrivacy

PRIVACIES: dict[str, type[Privacy]] = {
    "none": NoPrivacy,
    "example": ExamplePrivacy,
}

__all__ = ["PRIVACIES", "ExamplePrivacy", "NoPrivacy", "Privacy", "PrivateMechanism"]
