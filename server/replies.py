"""A round's replies: read and checked, and left out with the reason where they may not be aggregated."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from flwr.app import Message, RecordDict

from common import wire
from common.algorithms import Payload, Reply, ServerContext, ServerState
from common.config import RunConfig
from common.errors import ProtocolError
from common.tree import FrozenTree, Tree
from server.clients import admission
from server.clients.masked_rounds import MaskedRounds
from server.clients.reply_spill import ReplySpill
from server.clients.resilient_grid import ResilientGrid
from server.clients.roster import Roster, reason_of
from server.rounds.base import RoundRecord, Snapshot

log = logging.getLogger("fedgan.server")


class Replies:
    """Reads the replies of a run's rounds.

    Args:
        config: The run's.
        roster: The clients.
        grid: Where they are.
        spill: Holds replies that come smaller than they are.
        masked: What undoes masks; None: replies are not masked.
        compares_norms: Whether a single client's update may be compared with those of others.
    """

    def __init__(
        self,
        config: RunConfig,
        roster: Roster,
        grid: ResilientGrid,
        spill: ReplySpill,
        masked: MaskedRounds | None,
        compares_norms: bool,
    ) -> None:
        self._config = config
        self._algorithm = config.algorithm_component
        self._roster = roster
        self._grid = grid
        self._spill = spill
        self._masked = masked
        self._compares_norms = compares_norms
        self._sent: dict[int, Tree] = {}  # what each client's reply is an update of, if replies are transformed

    def clear(self) -> None:
        """Lets go of the replies of the round before."""
        self._spill.clear()

    def expect(self, payloads: Mapping[int, Payload]) -> None:
        """Notes what clients are sent, by partition, as their replies may be updates of it."""
        if self._config.pipeline.steps:
            published = self._config.model_component.roles.published
            self._sent = {k: self._algorithm.received(payload.arrays, published) for k, payload in payloads.items()}

    def admitted(
        self, messages: Sequence[Message], record: RoundRecord, snapshot: Snapshot, context: ServerContext
    ) -> tuple[list[Reply], set[int]]:
        """Returns the replies that may be aggregated, by partition, and who has lost its memory and begins anew.

        Args:
            messages: That have come.
            record: Of the round; takes why the others may not.
            snapshot: The round before.
            context: Of the round.
        """
        round = record.round
        template = self._algorithm.reply_template(snapshot.state, context)
        sent = template if self._masked is None else self._masked.template(template)
        cohort = set(record.cohort)
        sound: dict[int, Reply] = {}
        anew: set[int] = set()
        for message in messages:
            partition = self._grid.partition_of(message)
            if partition is None or partition not in cohort:
                log.warning("round %d: a reply that nobody requested is left out", round)
                continue
            record.bytes_up += wire.message_bytes(message)
            if message.has_error():
                self._leave_out(record, partition, reason_of(message))
                continue
            try:
                reply, memory_round = self._read(message, partition, round)
                self._check(reply, self._roster.clients[partition], sent, context)
            except ProtocolError as error:
                self._leave_out(record, partition, str(error))
                continue
            expected = snapshot.memory_rounds.get(partition, 0)
            if memory_round == expected:
                sound[partition] = reply
            else:
                anew.add(partition)
                self._leave_out(
                    record,
                    partition,
                    f"it has lost what it kept after round {expected}, and begins anew: give the site a state-path",
                )
        if self._compares_norms:
            for partition, reason in self._outliers(sound, template, snapshot.state).items():
                del sound[partition]
                self._leave_out(record, partition, reason)
        for partition in record.cohort:
            if partition not in sound and partition not in record.refused:
                self._leave_out(record, partition, self._grid.reason_of_silence(partition))
        self._sent = {}
        return [sound[partition] for partition in sorted(sound)], anew

    def _check(self, reply: Reply, client: wire.RollCall, sent: Tree, context: ServerContext) -> None:
        admission.check(reply, client, sent, any_length=self._algorithm.fitting == "counts")
        if self._masked is None:
            self._algorithm.check_reply(reply, context)

    def _outliers(self, sound: Mapping[int, Reply], template: Tree, state: ServerState) -> dict[int, str]:
        """Returns why updates of some sound replies are too long, by partition."""
        origins = {k: self._algorithm.origins(state, k, template) for k in sound}
        found: dict[int, str] = {}
        for part in self._algorithm.reply_parts(template):
            left = {k: reply for k, reply in sound.items() if k not in found}
            found |= admission.outliers(left, origins, part.keys(), self._config.admission.max_norm_ratio)
        return found

    def _read(self, message: Message, partition: int, round: int) -> tuple[Reply, int]:
        """Returns a reply with whole weights, and the round of its client's memory; see ``wire.decode_reply``."""
        content, message.content = message.content, RecordDict()  # Flower holds on to messages for a round more
        reply, memory_round = wire.decode_reply(content, round)
        if partition in self._sent:
            arrays = self._config.pipeline.decode(reply.arrays, self._sent[partition])
            if arrays is not reply.arrays:
                reply = replace(reply, arrays=self._spill.put(FrozenTree(arrays)))
        return reply, memory_round

    def _leave_out(self, record: RoundRecord, partition: int, reason: str) -> None:
        record.leave_out(partition, reason, self._roster.label(partition))
