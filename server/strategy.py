"""The one adapter between Flower's strategy loop and the algorithms of ``common/algorithms``."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from common import wire
from common.algorithms import Algorithm, Reply, ServerState
from common.config import FederationConfig
from common.errors import FederationError, ProtocolError
from common.tree import Tree, distance
from server import admission
from server.cohort import Roster, reason_of

log = logging.getLogger("fedgan.server")

ClientStates = Mapping[int, Mapping[str, Tree]]
"""What simulated clients keep between rounds, by partition and name."""


@dataclass
class RoundRecord:
    """What one round did; becomes a line of the journal."""

    round: int
    cohort: list[int]
    clients: list[dict[str, float | int]] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    bytes_down: int = 0
    bytes_up: int = 0


@dataclass(frozen=True)
class Snapshot:
    """A round that is done: everything a run needs to go on from here.

    Attributes:
        state: The server's.
        clients: What simulated clients keep.
        images_seen: Real images that clients have trained on so far, counted each time.
    """

    state: ServerState
    clients: ClientStates
    images_seen: int = 0


class FederatedGAN(Strategy):
    """Runs one algorithm under Flower's own loop.

    Args:
        algorithm: Both halves of the mathematics.
        roster: The clients.
        federation: Fraction, minimum of replies.
        seed: The run's seed.
        snapshot: Where to start from.
        client_states: Returns what simulated clients keep, by reference; empty where clients keep it to themselves.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        roster: Roster,
        federation: FederationConfig,
        seed: int,
        snapshot: Snapshot,
        client_states: Callable[[], ClientStates] = dict,
    ) -> None:
        self.snapshot = snapshot
        self.record = RoundRecord(snapshot.state.round, [])
        self._algorithm = algorithm
        self._roster = roster
        self._federation = federation
        self._seed = seed
        self._client_states = client_states
        self._sent_at = 0.0

    def summary(self) -> None:
        """Logs what is about to run."""
        log.info("%s over %d clients", self._algorithm.spec(), len(self._roster.clients))

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Samples the cohort of the next round and returns a message for each of its clients.

        Flower counts rounds from 1 at every start; a resumed run goes on counting from its state.
        """
        start = time.perf_counter()
        state = self.snapshot.state
        round = state.round + 1
        cohort = self._roster.sample(self._federation.fraction, self._seed, round)
        self.record = RoundRecord(round, cohort)
        encoded: dict[int, ArrayRecord] = {id(state.parameters): arrays}
        messages = []
        for partition, payload in self._algorithm.broadcast(state, cohort).items():
            record = encoded.get(id(payload.arrays))
            if record is None:
                record = encoded[id(payload.arrays)] = wire.encode_tree(payload.arrays)
            content = wire.encode_payload(payload, record, round)
            message = Message(content, self._roster.nodes[partition], MessageType.TRAIN, group_id=str(round))
            self.record.bytes_down += wire.message_bytes(message)
            messages.append(message)
        self._sent_at = time.perf_counter()
        self.record.seconds["configure"] = self._sent_at - start
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Admits, aggregates, and moves on to the next state.

        Raises:
            FederationError: Fewer usable replies than the minimum; the state stays as it was.
        """
        received = list(replies)
        start = time.perf_counter()
        self.record.seconds["train"] = start - self._sent_at
        state = self.snapshot.state
        admitted = self._admit(received)
        minimum = self._federation.min_replies or (len(self.record.cohort) + 1) // 2
        if len(admitted) < minimum:
            reasons = "; ".join(f"partition {k}: {why}" for k, why in sorted(self.record.refused.items()))
            raise FederationError(
                f"round {self.record.round}: {len(admitted)} usable replies of {len(self.record.cohort)}, the minimum "
                f"is {minimum}" + (f": {reasons}" if reasons else "")
            )
        state = self._algorithm.update(state, admitted)
        self.record.clients = [self._client_line(reply, state) for reply in admitted]
        encoded = wire.encode_tree(state.parameters)
        images = sum(int(reply.metrics.get("images", 0)) for reply in admitted)
        self.snapshot = Snapshot(state, self._client_states(), self.snapshot.images_seen + images)
        self.record.seconds["aggregate"] = time.perf_counter() - start
        return encoded, None

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Returns no message: the server scores, and clients report with their training replies."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Returns nothing, as nothing was asked."""
        return None

    def _admit(self, messages: list[Message]) -> list[Reply]:
        """Returns the replies that may be aggregated, by partition; notes why the others may not."""
        partitions = {node: partition for partition, node in self._roster.nodes.items()}
        template = self._algorithm.reply_template(self.snapshot.state)
        admitted: dict[int, Reply] = {}
        for message in messages:
            partition = partitions.get(message.metadata.src_node_id)
            if partition is None or partition not in self.record.cohort:
                log.warning("round %d: a reply of an unknown node is left out", self.record.round)
                continue
            self.record.bytes_up += wire.message_bytes(message)
            if message.has_error():
                self._refuse(partition, reason_of(message))
                continue
            try:
                reply = wire.decode_reply(message.content, self.record.round)
                admission.check(reply, self._roster.clients[partition], template)
            except ProtocolError as error:
                self._refuse(partition, str(error))
            else:
                admitted[partition] = reply
        for partition in self.record.cohort:
            if partition not in admitted and partition not in self.record.refused:
                self._refuse(partition, f"no reply within federation.round-seconds={self._federation.round_seconds:g}")
        return [admitted[partition] for partition in sorted(admitted)]

    def _refuse(self, partition: int, reason: str) -> None:
        self.record.refused[partition] = reason
        log.warning("round %d: partition %d is left out: %s", self.record.round, partition, reason)

    def _client_line(self, reply: Reply, state: ServerState) -> dict[str, float | int]:
        shared = {key: value for key, value in reply.arrays.items() if key in state.parameters}
        drift = distance(shared, state.parameters)
        metrics = {key: float(value) for key, value in reply.metrics.items()}
        return metrics | {"partition": reply.partition, "num-examples": reply.num_examples, "drift": drift}
