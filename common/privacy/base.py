"""What a privacy is: one promise of what a run reveals of clients or their examples, and what keeps it."""

from typing import ClassVar, Literal

from common.components import Component

Unit = Literal["", "example", "client"]

PrivateMechanism = Literal["", "steps", "sums", "means"]
"""What noise is added to: gradients of steps, sums over all of a client's examples, once a run, or means of updates."""


SPARE_ROUNDS = (
    "rounds that noise is made for beside those of the run: what is repeated, as after a rollback, is paid for again"
)
"""Of the option ``spare-rounds``."""


class Privacy(Component):
    """Base of every promise."""

    unit: ClassVar[Unit] = ""
    """What two neighbouring federations differ in: one example of one client, or one client; empty: no promise."""

    @property
    def private(self) -> bool:
        """Whether a promise is made, so that all that leaves a client is noised, charged or switched off."""
        return bool(self.unit)
