"""The messages of one round, or of one query, from the first that is sent to the last reply."""

import time
from collections import Counter
from dataclasses import dataclass, field

from flwr.app import Message, MessageType, Metadata

_LONGEST_LOOK = 30.0  # seconds


@dataclass
class Requests:
    """What one ``send_and_receive`` has sent, by partition, and what came of it.

    Attributes:
        templates: The messages.
        unsent: Those that are to be sent, or sent again.
        pending: Partitions by the ids of messages that were sent and not answered.
        replies: What came.
        lost: How often a client's message was lost while its node was there.
        disturbed: Clients whose message was lost once.
        waited: Seconds since the beginning, without those in which this process stood still.
    """

    templates: dict[int, Message]
    unsent: dict[int, Message] = field(init=False)
    pending: dict[str, int] = field(default_factory=dict)
    replies: list[Message] = field(default_factory=list)
    lost: Counter[int] = field(default_factory=Counter)
    disturbed: set[int] = field(default_factory=set)
    waited: float = 0.0

    def __post_init__(self) -> None:
        self.unsent = dict(self.templates)
        self._looked = time.monotonic()

    @property
    def metadata(self) -> Metadata:
        """Of any of the messages."""
        return next(iter(self.templates.values())).metadata

    @property
    def trains(self) -> bool:
        """Whether this is a round, not a question beside the rounds."""
        return self.metadata.message_type == MessageType.TRAIN

    @property
    def num_usable(self) -> int:
        """Replies that are no errors."""
        return sum(not reply.has_error() for reply in self.replies)

    def outstanding(self) -> set[int]:
        """Returns the clients that may still reply."""
        return {*self.unsent, *self.pending.values()}

    def pass_time(self) -> None:
        """Counts the time since the last look; only some of a long one, as of a machine that was suspended."""
        now = time.monotonic()
        self.waited += min(now - self._looked, _LONGEST_LOOK)
        self._looked = now
