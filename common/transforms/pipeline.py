"""The transforms of a run, one after another."""

from collections.abc import Mapping
from dataclasses import dataclass

from common import components
from common.errors import ConfigError
from common.seeding import torch_generator
from common.transforms.base import Transform
from common.tree import Tree

KIND = "transforms"


@dataclass(frozen=True)
class Pipeline:
    """Transforms in the order in which clients apply them; the server undoes them in the opposite one.

    Attributes:
        steps: The transforms; none: updates travel as they are.
    """

    steps: tuple[Transform, ...] = ()

    @classmethod
    def parse(cls, text: str, table: Mapping[str, type[Transform]]) -> "Pipeline":
        """Returns the pipeline that a configuration says: ``"clip norm=1.0 | compress to=int8"``; empty: none.

        Raises:
            ConfigError: An unknown transform or option, one that is given twice, or an order that makes no sense.
        """
        steps = tuple(components.parse_chain(KIND, table, text))
        for place, step in enumerate(steps):
            before, name = steps[:place], step.component_name()
            if any(other.component_name() == name for other in before):
                raise ConfigError(f"{KIND}={text!r}: {name} is given twice")
            if not step.changes_form and (last := [one.component_name() for one in before if one.changes_form]):
                raise ConfigError(f"{KIND}={text!r}: {name} takes weights, so it comes before {last[0]}")
            step.check(before)
        return cls(steps)

    def specs(self) -> list[str]:
        """Returns the strings that describe the transforms with all their options."""
        return [step.spec() for step in self.steps]

    def spec(self) -> str:
        """Returns the string that describes the pipeline; ``parse`` reads it back."""
        return components.CHAINED.join(self.specs())

    @property
    def kept_as(self) -> tuple[str, ...]:
        """The names of what a client keeps for the transforms."""
        return tuple(step.kept_as for step in self.steps if step.kept_as)

    @property
    def of_weights(self) -> list[Transform]:
        """The transforms that take weights of which the server takes the mean, and no other replies."""
        return [step for step in self.steps if step.of_weights]

    @property
    def equal_weights(self) -> list[Transform]:
        """The transforms under which all clients must count alike in the mean."""
        return [step for step in self.steps if step.equal_weights]

    def encode(self, arrays: Tree, received: Tree, kept: Mapping[str, Tree]) -> tuple[Tree, dict[str, Tree]]:
        """Returns what a client sends, and what it keeps by name, without empty trees; see ``Transform.encode``."""
        keeps: dict[str, Tree] = {}
        for step in self.steps:
            arrays, left = step.encode(arrays, received, kept.get(step.kept_as, {}))
            if left:
                keeps[step.kept_as] = left
        return arrays, keeps

    def decode(self, sent: Tree, received: Tree) -> Tree:
        """Returns the weights that a reply says, ``sent`` itself if nothing is to be undone; see ``Transform.decode``.

        Raises:
            ProtocolError: It cannot be what ``encode`` returns.
        """
        for step in reversed(self.steps):
            sent = step.decode(sent, received)
        return sent

    def after_mean(self, mean: Tree, num_replies: int, seed: int, round: int, scope: str = "") -> Tree:
        """Returns what the server goes on with instead of a mean of a round; see ``Transform.after_mean``.

        Another ``scope`` gives other random numbers: noise that two means share could be taken off their difference.
        """
        for place, step in enumerate(self.steps):
            longest = min((one.longest for one in self.steps[:place]), default=step.longest)
            name = step.component_name()
            generator = torch_generator(seed, "server", round, name, *([scope] if scope else []))
            mean = step.after_mean(mean, num_replies, longest, generator)
        return mean


UNTRANSFORMED = Pipeline()
"""That of updates that travel as they are."""
