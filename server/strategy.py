"""The one adapter between Flower's strategy loop and the algorithms of ``common/algorithms``."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from common import wire
from common.algorithms import Payload, Reply, ServerState
from common.config import RunConfig
from common.errors import FederationError
from common.journal_lines import ClientLine
from common.secure_sum import Letters
from common.threads import limited_to
from common.tree import FrozenTree, Tree, digest, not_finite, rough_distance
from server.clients.masked_rounds import MaskedRounds, MaskRecord
from server.clients.reply_spill import ReplySpill
from server.clients.resilient_grid import ResilientGrid
from server.clients.roster import Roster
from server.context import context_of
from server.private_rounds import PrivateRounds
from server.records.privacy_accounts import ANY_CLIENT
from server.records.privacy_ledger import PrivacyLedger, SpentError
from server.replies import Replies
from server.rounds.base import ClientStates, RoundRecord, Snapshot

log = logging.getLogger("fedgan.server")

MASKS = "masks"
"""What secure aggregation took beside the training, among the seconds of a line of the journal."""


class RoundError(FederationError):
    """Too few usable replies; the state is that before the round."""


class FederatedStrategy(Strategy):
    """Runs one algorithm under Flower's own loop.

    Args:
        config: The run's.
        roster: The clients.
        grid: Where they are.
        snapshot: Where to start from.
        client_states: Returns, by reference, what simulated clients kept after the given round of each; empty where
            clients keep it to themselves.
        spill: Holds replies that come smaller than they are; None: memory does.
        masked: Asks clients for what masks take, where the server is to learn the sum of their updates alone.
        returnable: Returns the ``memory_rounds`` of rounds that the run may go back to: clients keep those memories.

    Attributes:
        snapshot: The last round that is done.
        record: What the round at hand did so far.
        ledger: Where private releases are noted before tasks are sent; None: nothing is promised.
    """

    def __init__(
        self,
        config: RunConfig,
        roster: Roster,
        grid: ResilientGrid,
        snapshot: Snapshot,
        client_states: Callable[[Mapping[int, int]], ClientStates] = lambda rounds: {},
        spill: ReplySpill | None = None,
        returnable: Callable[[], Sequence[Mapping[int, int]]] = lambda: (),
        masked: MaskedRounds | None = None,
    ) -> None:
        self.snapshot = snapshot
        self.record = RoundRecord(snapshot.state.round, [])
        self._config = config
        self._algorithm = config.algorithm_component
        self._roster = roster
        self._grid = grid
        self._client_states = client_states
        self._returnable = returnable
        self._masked = masked
        self.ledger: PrivacyLedger | None = None
        self._private = PrivateRounds.of(config, roster.clients)
        self._context = context_of(config, roster, snapshot.rollbacks)
        self._charged: Mapping[int, str] = {}  # what the ledger knows of the round at hand
        self._repeats = False
        self._sent_at = 0.0
        self._sees_single = masked is None and self._private is None  # updates of single clients
        self._replies = Replies(config, roster, grid, spill or ReplySpill(Path(), 0), masked, self._sees_single)

    def summary(self) -> None:
        """Logs what is about to run."""
        log.info("%s over %d clients", self._algorithm.spec(), len(self._roster.clients))
        if self._masked is not None:
            log.info(
                "updates are added up under masks, which it takes %d clients of a round to undo; "
                "admission.max-norm-ratio is off, as nobody sees a single one",
                self._config.mask_threshold,
            )
        if self._private is not None:
            log.info(
                "privacy of clients: each takes part in a round by chance, all count alike, and "
                "admission.max-norm-ratio is off, as who is left out must not depend on others"
            )

    def go_on_from(self, snapshot: Snapshot) -> None:
        """Takes another round for the last one that is done, with the random numbers of its ``rollbacks``."""
        if snapshot.rollbacks != self.snapshot.rollbacks:
            self._context = context_of(self._config, self._roster, snapshot.rollbacks)
        self.snapshot = snapshot

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Samples the cohort of the next round and returns a message for each of its clients.

        Flower counts rounds from 1 at every start; a resumed run goes on counting from its state.

        Raises:
            SpentError: The round would release more than the run promises.
        """
        start = time.perf_counter()
        self._replies.clear()
        state = self.snapshot.state
        round = state.round + 1
        noisy_mean = None
        if self._private is None:
            cohort = self._algorithm.cohort(self._config.federation.cohort_size, round, self._context)
        else:
            cohort = self._private.cohort(self._context.seed, round)
            noisy_mean = self._private.mean(self._context.seed, round, state.parameters)
        context = self._context = replace(self._context, cohort=cohort, round=round, noisy_mean=noisy_mean)
        self.record = RoundRecord(round, cohort)
        letters = self._begin_masks(cohort)
        encoded: dict[int, ArrayRecord] = {id(state.parameters): arrays}
        messages = []
        with limited_to(self._config.local.num_threads):
            payloads = self._algorithm.broadcast(state, cohort, context)
        self._charge(payloads)
        self._replies.expect(payloads)
        kept = (self.snapshot.memory_rounds, *self._returnable())
        for partition, payload in payloads.items():
            if partition in self.record.refused:
                continue
            record = encoded.get(id(payload.arrays))
            if record is None:
                record = encoded[id(payload.arrays)] = wire.encode_tree(payload.arrays)
            content = wire.encode_task(
                replace(self._task(payload, partition, kept), letters=letters.get(partition)), record
            )
            message = Message(content, self._grid.node_of(partition), MessageType.TRAIN, group_id=str(round))
            self.record.bytes_down += wire.message_bytes(message)
            messages.append(message)
        self._sent_at = time.perf_counter()
        self.record.seconds["configure"] = self._sent_at - start - self.record.seconds.get(MASKS, 0.0)
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Admits, aggregates, and moves on to the next state.

        Raises:
            RoundError: Fewer usable replies than the minimum; the state stays as it was.
            SpentError: What fewer replies give would release more than the run promises.
        """
        received = list(replies)
        start = time.perf_counter()
        self.record.seconds["train"] = start - self._sent_at
        masks = self.record.seconds.get(MASKS, 0.0)
        before = self.snapshot
        admitted, anew = self._replies.admitted(received, self.record, before, self._context)
        heard = {k: round for k, round in before.memory_rounds.items() if k not in anew}
        cohort = self.record.cohort
        minimum = self._config.least_replies(len(cohort))
        if len(admitted) < minimum:
            self.snapshot = replace(before, memory_rounds=heard)
            reasons = "; ".join(f"{self._roster.label(k)}: {why}" for k, why in sorted(self.record.refused.items()))
            raise RoundError(
                f"round {self.record.round}: {len(admitted)} usable replies of {len(cohort)}, the minimum is {minimum}"
                + (f": {reasons}" if reasons else "")
            )
        if len(admitted) < len(cohort):
            self._charge_incomplete()
        admitted = self._end_masks(admitted)
        heard |= dict.fromkeys([*anew, *(reply.partition for reply in admitted)], self.record.round)
        with limited_to(self._config.local.num_threads):
            state = self._algorithm.update(before.state, admitted, self._context)
        state = replace(state, parameters=FrozenTree(state.parameters))
        for partition, what in self._algorithm.incidents(before.state, admitted, self._context).items():
            self.record.leave_out(partition, f"{self.record.refused[partition]}; {what}", self._roster.label(partition))
        for tree in (state.parameters, state.average, *state.slots.values()):
            if broken := not_finite(tree):  # what all runs to come would start from
                raise RoundError(f"round {self.record.round}: {broken} is no longer finite; the old weights stay")
        self.record.clients = [self._client_line(reply, state) for reply in admitted]
        encoded = wire.encode_tree(state.parameters)
        examples = sum(int(reply.metrics.get("examples", 0)) for reply in admitted)
        self.snapshot = replace(
            before,
            state=state,
            clients=self._client_states(heard),
            examples_seen=before.examples_seen + examples,
            memory_rounds=heard,
            releases=self.ledger.num_lines if self.ledger else 0,
        )
        after = self.record.seconds.get(MASKS, 0.0) - masks
        self.record.seconds["aggregate"] = time.perf_counter() - start - after
        return encoded, None

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Returns no message: the server scores, and clients report with their training replies."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Returns nothing, as no client evaluates."""
        return None

    def _begin_masks(self, cohort: Sequence[int]) -> Mapping[int, Letters]:
        """Returns what goes to clients with their tasks for masks; who takes no part any more is left out.

        Raises:
            RoundError: Too few do.
        """
        if self._masked is None:
            return {}
        try:
            letters = self._masked.begin(self.record.round, self.snapshot.run, cohort)
        except FederationError as error:
            raise RoundError(f"round {self.record.round}: {error}") from None
        finally:
            self._note_masks(self._masked.record)
        for step, reasons in self._masked.record.dropped.items():
            for partition, why in reasons.items():
                reason = f"in the step of {step} of secure aggregation: {why}"
                self.record.leave_out(partition, reason, self._roster.label(partition))
        return letters

    def _end_masks(self, replies: list[Reply]) -> list[Reply]:
        """Returns replies as the algorithm takes them: where they are masked, each with the mean of all.

        Raises:
            RoundError: The sum stays masked; says why.
        """
        if self._masked is None:
            return replies
        like = self._algorithm.reply_template(self.snapshot.state, self._context)
        try:
            return self._masked.end(replies, like, like, self.record.refused)
        except FederationError as error:
            raise RoundError(f"round {self.record.round}: {error}") from None
        finally:
            self._note_masks(self._masked.record)

    def _note_masks(self, record: MaskRecord) -> None:
        self.record.masks = record.line()
        self.record.seconds[MASKS] = record.seconds

    def _task(self, payload: Payload, partition: int, kept: Sequence[Mapping[int, int]]) -> wire.Task:
        return wire.Task(
            payload,
            round=self.snapshot.state.round + 1,
            run=self.snapshot.run,
            memory_round=self.snapshot.memory_rounds.get(partition, 0),
            keep_from=min(rounds.get(partition, 0) for rounds in kept),
            rollbacks=self.snapshot.rollbacks,
            spec=self._roster.shared_spec,
        )

    def _charge(self, payloads: Mapping[int, Payload]) -> None:
        if self.ledger is None:
            return
        digests = {id(payload.arrays): "" for payload in payloads.values()}
        for payload in payloads.values():
            digests[id(payload.arrays)] = digests[id(payload.arrays)] or digest(payload.arrays)[:16]
        heard = self.snapshot.memory_rounds
        starts = {k: f"{digests[id(payload.arrays)]}-{heard.get(k, 0)}" for k, payload in payloads.items()}
        if self._private is not None:  # whoever is drawn: a round costs all clients alike
            starts = {ANY_CLIENT: digest(self.snapshot.state.parameters)[:16]}
        self._charged, self._repeats = (
            starts,
            not self.ledger.charge(self.record.round, self.snapshot.rollbacks, starts),
        )

    def _charge_incomplete(self) -> None:
        """Notes that a mean of fewer clients is released, where the server's noise follows from the run's seed.

        Raises:
            SpentError: The run would release more than it promises.
        """
        if self.ledger is not None and self._private is not None and not self.ledger.from_system:
            self.ledger.charge_incomplete(
                self.record.round, self.snapshot.rollbacks, self._charged, repeats=self._repeats
            )

    def charge_again(self, partition: int) -> str:
        """Notes that a client gets its task of the round at hand once more; returns why it may not, or nothing."""
        if self.ledger is None or self._private is not None or self.ledger.accounts[partition].noise != wire.SYSTEM:
            return ""
        try:
            self.ledger.charge(self.record.round, self.snapshot.rollbacks, {partition: "again"})
        except SpentError as error:
            return str(error)
        return ""

    def _client_line(self, reply: Reply, state: ServerState) -> ClientLine:
        line: dict[str, float | int] = {key: float(value) for key, value in reply.metrics.items()}
        line |= {"partition": reply.partition, "num-examples": reply.num_examples}
        shared: Tree = reply.arrays
        if not shared.keys() <= state.parameters.keys():
            shared = {key: value for key, value in shared.items() if key in state.parameters}
        if shared and self._algorithm.fitting == "steps" and self._sees_single:
            line["drift"] = rough_distance(shared, state.parameters)
        return cast(ClientLine, line)
