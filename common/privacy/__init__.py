"""What a run promises of its clients' examples, or of its clients: one promise a file."""

from common.privacy.base import Privacy, PrivateMechanism
from common.privacy.client import ClientPrivacy
from common.privacy.example import ExamplePrivacy
from common.privacy.none import NoPrivacy

PRIVACIES: dict[str, type[Privacy]] = {
    "none": NoPrivacy,
    "example": ExamplePrivacy,
    "client": ClientPrivacy,
}

__all__ = ["PRIVACIES", "ClientPrivacy", "ExamplePrivacy", "NoPrivacy", "Privacy", "PrivateMechanism"]
