"""A source of text that is made on the spot: each role counts on through the alphabet, from a letter of its own."""

from typing import ClassVar

from common.datasets.texts import TextDataSource, TextsOfSource


class CountingText(TextDataSource):
    """Five roles; role k begins with the k-th letter, and says lines of six to nine; its class is k modulo 2."""

    source: ClassVar[str] = "here"

    @classmethod
    def component_name(cls):
        return "counting-text"

    def load(self, root, *, image_size=0, download=True):
        letters = "abcdefgh" * 3
        roles = [
            TextsOfSource(
                f"role {role}", tuple(letters[role : role + 6 + line % 4] for line in range(10)), (role % 2,) * 10
            )
            for role in range(5)
        ]
        return self.dataset(roles, image_size=image_size, class_names=("even", "odd"))

    def status(self, root):
        return "counting-text: made on the spot"
