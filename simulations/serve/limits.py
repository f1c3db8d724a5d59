"""How much a server takes on: images of a request, requests under way, streams open."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How much is taken on.

    Attributes:
        images: Of one request, rejected ones included.
        pixels: Of one answer, all images together.
        characters: Of one text with its prompt: as many steps of the model, whatever is written beside it.
        all_characters: Of all texts of one request, with their prompts.
        waiting: Images that wait or are made at a time.
        requests: Requests for images under way at a time.
        seconds: How long one may wait for its images.
        streams: Open at a time.
        encoders: Answers encoded at a time.
    """

    images: int = 1000
    pixels: int = 2**25
    characters: int = 4096
    all_characters: int = 2**18
    waiting: int = 4096
    requests: int = 128
    seconds: float = 30.0
    streams: int = 64
    encoders: int = 2
