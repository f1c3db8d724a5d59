"""Flower's Grid in this process: clients are calls in worker threads, and what they keep stays in memory."""

import itertools
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from flwr.app import Context, Error, Message, MessageType, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run as FlowerRun
from flwr.supercore.task_identity import TaskIdentity

from client.state import ContextMemories, without_memories
from common.config import Scalar
from common.tree import Tree
from server.clients.live_status import ClientStatus
from server.clients.reply_spill import ReplySpill
from server.clients.resilient_grid import spilled
from server.rounds.base import ClientStates, Hook
from simulations.runtime.engine_choice import together
from simulations.runtime.process_pool import RemoteError

if TYPE_CHECKING:
    from simulations.runtime.batched import CohortBarriers

Around = Callable[[str, int], AbstractContextManager[None]]
RUN_ID = 1
SERVER_NODE = 1
_FIRST_NODE = 2
_MESSAGE_IDS = itertools.count(1)


class InProcessGrid(Grid):
    """A Flower Grid whose nodes are calls of a ClientApp in this process.

    A client that raises gives an error reply, as under Flower, and its state stays as it was. States are committed
    when all replies of a batch are there, so an interrupted round leaves none half done.

    Args:
        app: The ClientApp, or what is called as one.
        run_config: What clients find in ``context.run_config``.
        num_clients: Nodes; node ``2 + k`` holds partition k.
        num_workers: Clients at a time.
        devices: Given to workers' clients in turn as ``device`` of the node configuration; empty: clients choose.
        on_reply: Called, in some worker's thread, with a partition id after each client's training.
        barriers: Where clients train together, closed with the grid; None: each by itself.
        around: Entered while clients of a round train, with its number, as text, and theirs; None: nothing.

    Attributes:
        engine: How clients are trained, where it costs bits; else empty.
        on_change: See ``server.recovery.KeepsClients``.
        spill: Likewise.
        hooks: See ``server.rounds.base.BringsHooks``.
    """

    def __init__(
        self,
        app: Callable[[Message, Context], Message],
        run_config: Mapping[str, Scalar],
        num_clients: int,
        num_workers: int,
        devices: Sequence[str] = (),
        on_reply: Callable[[int], None] | None = None,
        barriers: "CohortBarriers | None" = None,
        around: Around | None = None,
    ) -> None:
        identify_process()
        self._app = app
        self._on_reply = on_reply or (lambda partition: None)
        self._states: dict[int, RecordDict] = {k: RecordDict() for k in range(num_clients)}
        self._node_configs: dict[int, dict[str, Scalar]] = {}
        for k in range(num_clients):
            self._node_configs[k] = {"partition-id": k, "num-partitions": num_clients}
            if devices:
                self._node_configs[k]["device"] = devices[k % len(devices)]
        self._run_config = dict(run_config)
        self._run = FlowerRun.create_empty(RUN_ID)
        self._pool = ThreadPoolExecutor(num_workers, "fedgan-client", torch.set_num_threads, (1,))
        self._barriers = barriers
        self._around = around
        self.engine = together(barriers.num_rows) if barriers else ""
        self.on_change: Callable[[int, ClientStatus], None] = lambda partition, doing: None
        self.spill: ReplySpill | None = None
        self.hooks: Sequence[Hook] = ()
        self._replies: dict[str, Message] = {}

    def set_run(self, run: FlowerRun) -> None:
        """Sets the run's description."""
        self._run = run

    @property
    def run(self) -> FlowerRun:
        """The run's description."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Returns a message to a node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """Returns one node id a client."""
        return [_FIRST_NODE + k for k in self._states]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Runs the clients, and returns ids with which ``pull_messages`` gives their replies."""
        pushed = list(messages)
        for reply in self.send_and_receive(pushed):
            self._replies[reply.metadata.reply_to_message_id] = reply
        return [message.metadata.message_id for message in pushed]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Returns the replies to these messages, once."""
        return [self._replies.pop(name) for name in message_ids if name in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Runs the addressed clients and returns their replies, in the order of the messages.

        ``timeout`` is not needed: a client's call returns or raises.
        """
        sent = list(messages)
        for message in sent:
            message.metadata.__dict__["_message_id"] = f"{next(_MESSAGE_IDS):016x}"
        if not sent:
            return []
        trains = sent[0].metadata.message_type == MessageType.TRAIN
        with self._around(sent[0].metadata.group_id, len(sent)) if trains and self._around else nullcontext():
            outcomes = self._outcomes(sent)
        for message, (_, state) in zip(sent, outcomes, strict=True):
            if state is not None:
                self._states[message.metadata.dst_node_id - _FIRST_NODE] = state
        return [reply for reply, _ in outcomes]

    def close(self) -> None:
        """Waits for clients that still run, and ends the workers."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._barriers is not None:
            self._barriers.close()

    def client_states(self, rounds: Mapping[int, int]) -> ClientStates:
        """Returns what clients kept after the given round of each; a view by reference, decoded when it is read.

        Clients that keep it on disk (``state-path``) are left out.
        """
        return _StatesView(self._states, rounds)

    def restore_clients(self, states: ClientStates, rounds: Mapping[int, int]) -> None:
        """Gives clients back what they kept after the given round of each; all others keep nothing but their keys."""
        self._states = {partition: without_memories(state) for partition, state in self._states.items()}
        for partition, round in rounds.items():
            if partition in states:
                ContextMemories(self._states[partition]).save(round, states[partition], round)

    def _outcomes(self, sent: list[Message]) -> list[tuple[Message, RecordDict | None]]:
        if self._barriers is not None and sent[0].metadata.message_type == MessageType.TRAIN:
            configs = [self._node_configs[message.metadata.dst_node_id - _FIRST_NODE] for message in sent]
            return self._barriers.map(self._call, sent, [config.get("device") for config in configs])
        futures = [self._pool.submit(self._call, message) for message in sent]
        try:
            wait(futures)  # once for all: a thread that wakes for each reply takes the interpreter from the workers
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise

    def _call(self, message: Message) -> tuple[Message, RecordDict | None]:
        partition = message.metadata.dst_node_id - _FIRST_NODE
        state = RecordDict(dict(self._states[partition]))
        context = Context(
            run_id=RUN_ID,
            node_id=message.metadata.dst_node_id,
            node_config=dict(self._node_configs[partition]),
            state=state,
            run_config=self._run_config,
        )
        trains = message.metadata.message_type == MessageType.TRAIN
        if trains:
            self.on_change(partition, "training")
        try:
            reply = self._app(message, context)
        except Exception as error:  # whatever a client raises is a reply, as under Flower
            text = str(error) if isinstance(error, RemoteError) else traceback.format_exc()
            return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, text), reply_to=message), None
        finally:
            if trains:
                self._on_reply(partition)
                self.on_change(partition, "answered")
        return spilled(reply, self.spill), context.state


class _StatesView(Mapping[int, Mapping[str, Tree]]):
    """Clients' memories as they were when the view was made; decoded when read, as most views never are."""

    def __init__(self, states: Mapping[int, RecordDict], rounds: Mapping[int, int]) -> None:
        self._states, self._rounds = dict(states), dict(rounds)  # a state is replaced, never written to

    def __getitem__(self, partition: int) -> Mapping[str, Tree]:
        kept = ContextMemories(self._states[partition]).load(self._rounds[partition])
        if kept is None:
            raise KeyError(partition)
        return kept

    def __iter__(self) -> Iterator[int]:
        return (k for k, round in self._rounds.items() if ContextMemories(self._states[k]).holds(round))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def identify_process() -> None:
    """Sets the process-wide ids that Flower 1.41 needs before a message can be made (private; a test pins it)."""
    TaskIdentity.task_id = 1
    TaskIdentity.run_id = RUN_ID
    TaskIdentity.node_id = SERVER_NODE
