"""A small data set of text: what a few roles say, made on the spot, with little in it that is hard to expect."""

from typing import ClassVar

from common.datasets.texts import TextDataSource, TextsOfSource
from common.seeding import numpy_generator

ROLES = ("First Witch", "Second Witch", "Porter", "Macduff")
_WHAT = ("the owl", "the thane", "a drum", "the king", "my lord", "the night")
_DOES = ("comes", "sleeps no more", "is in the wood", "will not stay", "knocks")


class Verses(TextDataSource):
    """Forty lines a role, each of one of 30 sentences; each role likes some of them."""

    source: ClassVar[str] = "here"

    @classmethod
    def component_name(cls):
        return "verses"

    def load(self, root, *, image_size=0, download=True):
        draw = numpy_generator(0, "verses")
        sources = []
        for place, role in enumerate(ROLES):
            first = [(place + min(draw.geometric(0.4), 5)) % len(_WHAT) for _ in range(40)]
            texts = tuple(f"{_WHAT[one].capitalize()} {_DOES[draw.integers(5)]}, {role.lower()}." for one in first)
            sources.append(TextsOfSource(role, texts, (place % 2,) * len(texts)))
        return self.dataset(sources, image_size=image_size, class_names=("witches", "men"))

    def status(self, root):
        return "verses: made on the spot"
