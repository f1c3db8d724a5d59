"""What an update transform is: both halves of something that is done to clients' updates on their way to the server."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch

from common.components import Component
from common.tree import Tree

KEPT_NOTHING: Tree = {}


class Transform(Component):
    """Base of the update transforms; each method of this one changes nothing.

    The client's half is ``encode``. The server's half is ``decode``, for each reply as it arrives, and ``after_mean``,
    once for the mean of a round. The same numbers must give the same bits wherever it runs.
    """

    kept_as: ClassVar[str] = ""
    """The name of what a client keeps for it from round to round, of its own; empty: nothing."""

    changes_form: ClassVar[bool] = False
    """Whether what it sends are no longer weights, so that only transforms of such may come after it."""

    of_weights: ClassVar[bool] = False
    """Whether replies must be weights of which the server takes the mean: not every algorithm's are."""

    equal_weights: ClassVar[bool] = False
    """Whether all clients must count alike in the mean."""

    caveat: ClassVar[str] = ""
    """What whoever is handed the trained model should know of it, in a sentence."""

    @property
    def longest(self) -> float:
        """The longest update, over all weights together, that leaves the client's half."""
        return math.inf

    def check(self, before: Sequence["Transform"]) -> None:
        """Checks that the transform can follow those ``before`` it, in the order in which clients apply them.

        Raises:
            ConfigError: It cannot; says why, and what to do.
        """

    def encode(self, arrays: Tree, received: Tree, kept: Tree) -> tuple[Tree, Tree]:
        """Returns what a client sends instead of ``arrays``, and what it keeps for the next round.

        Args:
            arrays: What the algorithm, or the transform before, sends; floating entries finite; not to be written to.
            received: What the round started from. An entry of the same name and shape is what an entry of ``arrays``
                is an update of; there may be others, and others may be missing.
            kept: What the call before has kept; empty in the first round, and where it was lost.
        """
        return arrays, KEPT_NOTHING

    def decode(self, sent: Tree, received: Tree) -> Tree:
        """Returns what ``encode`` was given, as far as ``sent`` tells it.

        Args:
            sent: From a client, who may have sent anything; not to be written to.
            received: See ``encode``.

        Raises:
            ProtocolError: It cannot be what ``encode`` returns.
        """
        return sent

    def after_mean(self, mean: Tree, num_replies: int, longest: float, generator: torch.Generator) -> Tree:
        """Returns what the server goes on with instead of the mean of the replies' weights.

        Args:
            mean: Over the replies, as ``aggregate`` says.
            num_replies: How many there are.
            longest: No client's update was longer, over all weights together (``Transform.longest``).
            generator: Of this transform's own random numbers in this round.
        """
        return mean


def updated(arrays: Tree, received: Tree) -> Tree:
    """Returns the floating entries of ``arrays`` that are updates of one that was received, in their order.

    They have its name, shape and type.
    """
    return {
        key: value
        for key, value in arrays.items()
        if value.is_floating_point()
        and key in received
        and (value.shape, value.dtype) == (received[key].shape, received[key].dtype)
    }
