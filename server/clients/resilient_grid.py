"""The clients of a run as a Flower Grid that does not lose them: by partition, over nodes that come and go.

Flower's own grids look for replies every 3 s, try once, and take a client that was restarted for another one. This one
looks often at first and less often later, sends a message again when the client that lost it is back, and knows a
client by its partition id and data, whatever node id Flower gives it.
"""

import logging
from collections.abc import Callable, Iterable, Mapping

from flwr.app import ArrayRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run as FlowerRun

from common import wire
from common.config import RunConfig
from common.errors import ProtocolError
from common.examples import ExampleSpec
from server.clients.deadlines import Patience
from server.clients.live_status import ClientStatus, LiveStatus
from server.clients.reply_spill import ReplySpill
from server.clients.requests import Requests
from server.clients.roll_call import LOST, Attendance, pull, waits
from server.clients.roster import Roster, one_line, reason_of
from server.clients.waiting import Waiting

log = logging.getLogger("fedgan.server")

_MOST_LOSSES = 2  # of one client in one round, while its node was there
_GRACE_SECONDS = 60.0  # messages live this much longer than their round


def spilled(reply: Message, spill: ReplySpill | None) -> Message:
    """Returns ``reply``, whose arrays lie on disk from here on if those before it have filled memory."""
    if spill is not None and reply.has_content() and spill.is_full(wire.message_bytes(reply)):
        wire.replace_arrays(reply.content, spill.store)
    return reply


class ResilientGrid(Grid):
    """A grid over another one.

    Args:
        grid: The runtime's own.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._attendance = Attendance(grid)
        self._patience = Patience()
        self._least: Callable[[int], int] = lambda num: 1
        self._nodes = self._attendance.nodes
        self._absent: set[int] = set()  # partitions that were offline to the end of a round
        self._partitions: dict[str, int] = {}  # id of a message of this round -> partition
        self._silence: dict[int, str] = {}  # partition -> why it has no reply in this round
        self.now: LiveStatus | None = None
        """Where to show what clients do while they train; None: nowhere."""
        self.spill: ReplySpill | None = None
        """Takes replies as they come."""
        self.may_not_ask_again: Callable[[int], str] = lambda partition: ""
        """Returns why a client that has lost its task of a round may not get it once more; empty: it gets it."""

    def roll_call(self, config: RunConfig) -> Roster:
        """Waits for all clients, and returns them if they form one federation; see ``Attendance.roll_call``."""
        self._least = config.least_replies
        return self._attendance.roll_call(config)

    def node_of(self, partition: int) -> int:
        """Returns the node that holds a partition, as far as is known."""
        return self._nodes[partition]

    def label(self, partition: int) -> str:
        """Returns how messages to people name a client."""
        return self._attendance.label(partition)

    def partition_of(self, reply: Message) -> int | None:
        """Returns whose reply this is, of those that the last ``send_and_receive`` returned; None for any other."""
        return self._partitions.get(reply.metadata.reply_to_message_id)

    def reason_of_silence(self, partition: int) -> str:
        """Returns why the last ``send_and_receive`` has no reply of a partition."""
        return self._silence.get(partition, "no reply")

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Sends messages and returns the replies that came in time, errors among them.

        A message whose client is away, or that was lost with it, is sent again when the client is back, under whatever
        node id, with the same partition and data. A client that stayed away to the end of one round is not waited for
        in the next ones, until it is back.

        Args:
            messages: At most one a client, to ``node_of`` its partition.
            timeout: Seconds; 0 or None: what suits the clients, see ``Patience``.
        """
        holders = {node: partition for partition, node in self._nodes.items()}
        requests = Requests({holders[message.metadata.dst_node_id]: message for message in messages})
        self._partitions, self._silence = {}, {}
        if not requests.templates:
            return []
        patience = Patience(timeout) if timeout else self._patience
        now, waiting = self._now_of(requests), self._waiting_of(requests, patience)
        for _ in waits():
            online = self._attendance.online()
            patience.can_lose = self._attendance.can_lose
            requests.pass_time()
            self._send(requests, online, patience, now)
            self._receive(requests, online, now)
            if not (outstanding := requests.outstanding()):
                break
            away = {k for k in outstanding if self._nodes[k] not in online}
            if requests.waited > max(patience.of(k, away=k in away) for k in outstanding):
                self._absent |= requests.unsent.keys()
                if requests.trains:
                    self._silence |= {k: patience.late(k) for k in requests.pending.values()}
                break
            waiting.say(requests.waited, away, outstanding - away, requests.num_usable)
        self._silence |= dict.fromkeys(self._absent & requests.templates.keys(), "its node is away")
        return requests.replies

    def _send(
        self, requests: Requests, online: set[int], patience: Patience, now: Callable[[int, ClientStatus], None]
    ) -> None:
        """Sends what was not sent yet, or was lost, to the clients that are there."""
        self._attendance.welcome(online, busy=set(requests.pending.values()))
        self._absent -= {partition for partition in requests.unsent if self._nodes[partition] in online}
        ready = {k: m for k, m in requests.unsent.items() if self._nodes[k] in online}
        for partition in requests.unsent:
            now(partition, "requested" if partition in ready else "away")
        left = max((patience.of(k) for k in ready), default=0.0) - requests.waited
        requests.pending |= self._push(ready, left)
        sent = set(requests.pending.values())
        requests.unsent = {k: m for k, m in requests.unsent.items() if k not in sent and k not in self._absent}

    def _receive(self, requests: Requests, online: set[int], now: Callable[[int, ClientStatus], None]) -> None:
        """Takes the replies that are there, and notes which messages were lost."""
        found, unreadable = pull(self._grid, requests.pending)
        self._silence |= {requests.pending.pop(name): why for name, why in unreadable.items()}
        for name, reply in found.items():
            partition = requests.pending.pop(name)
            if reply.has_error() and reply.error.code in LOST:
                requests.lost[partition] += self._nodes[partition] in online  # a client may say so itself, for ever
                if requests.lost[partition] > _MOST_LOSSES:
                    self._silence[partition] = (
                        f"its replies were lost {requests.lost[partition]} times while it was there"
                    )
                    continue
                log.info("%s is away: %s", self.label(partition), reason_of(reply))
                if requests.trains and (why := self.may_not_ask_again(partition)):
                    self._silence[partition] = why
                    continue
                requests.unsent[partition] = requests.templates[partition]
                requests.disturbed.add(partition)
            else:
                self._partitions[name] = partition
                if requests.trains and not reply.has_error() and partition not in requests.disturbed:
                    self._patience.answered(partition, requests.waited)
                requests.replies.append(spilled(reply, self.spill))
                now(partition, "answered")
        for partition in self._silence:
            now(partition, "silent")

    def _now_of(self, requests: Requests) -> Callable[[int, ClientStatus], None]:
        """Returns what is shown of clients; nothing of those that answer a query beside the rounds."""
        if self.now is None or not requests.trains:
            return lambda partition, doing: None
        self.now.begin(int(requests.metadata.group_id), requests.templates)
        return self.now.put

    def _waiting_of(self, requests: Requests, patience: Patience) -> Waiting:
        num, least = len(requests.templates), 0
        what = requests.metadata.group_id
        if requests.trains:
            what = f"round {requests.metadata.group_id}"
            least = self._least(num)
        return Waiting(what, patience, self.label, num, least)

    def ask(
        self, name: str, arrays: ArrayRecord | None, seconds: float, spec: ExampleSpec | None = None
    ) -> tuple[dict[int, wire.Answer], dict[int, str]]:
        """Sends every client a query beside the rounds.

        Args:
            name: Of the query (``common/queries``).
            arrays: An encoded tree that goes with the question.
            seconds: How long to wait for answers.
            spec: See ``wire.encode_question``.

        Returns:
            The answers by partition, ascending, and why the others have not answered.
        """
        question = wire.encode_question(name, arrays, spec)
        late = f"no answer within evaluation.answer-seconds={seconds:g}"
        found, silent = self.ask_each("ask", dict.fromkeys(self._nodes, question), name, seconds, late)
        answers: dict[int, wire.Answer] = {}
        for partition, content in found.items():
            try:
                answer = wire.decode_answer(content)
                if answer.partition != partition:
                    raise ProtocolError(f"the answer says partition {answer.partition}, its node holds {partition}")
            except ProtocolError as error:
                silent[partition] = one_line(str(error))
                continue
            if answer.refusal:
                silent[partition] = one_line(answer.refusal)
            else:
                answers[partition] = answer
        return answers, {k: silent[k] for k in sorted(silent)}

    def ask_each(
        self, kind: str, questions: Mapping[int, RecordDict], what: str, seconds: float, late: str
    ) -> tuple[dict[int, RecordDict], dict[int, str]]:
        """Sends clients a message each beside the rounds.

        Args:
            kind: Of the query, as the ClientApp names it.
            questions: What each is asked, by partition; contents may be shared.
            what: What it is about, for whoever waits.
            seconds: How long to wait for answers; 0: what suits the clients.
            late: Why there is no answer of a client that is there and has given none.

        Returns:
            The answers by partition, ascending, and why the others have not answered.
        """
        replies = self.send_and_receive(
            [
                Message(RecordDict(dict(content)), self._nodes[k], f"{MessageType.QUERY}.{kind}", group_id=what)
                for k, content in questions.items()
            ],
            timeout=seconds,
        )
        answers: dict[int, RecordDict] = {}
        silent: dict[int, str] = {}
        for reply in replies:
            partition = self.partition_of(reply)
            assert partition is not None, "these are replies to the messages above"
            if reply.has_error():
                silent[partition] = reason_of(reply)
            else:
                answers[partition] = reply.content
        left = questions.keys() - answers.keys() - silent.keys()
        silent |= {partition: self._silence.get(partition, late) for partition in left}
        return {k: answers[k] for k in sorted(answers)}, {k: silent[k] for k in sorted(silent)}

    def _push(self, messages: Mapping[int, Message], seconds: float) -> dict[str, int]:
        """Sends copies to the nodes that hold the partitions now; returns partitions by message id."""
        copies = {
            partition: Message(
                message.content,
                self._nodes[partition],
                message.metadata.message_type,
                group_id=message.metadata.group_id,
                ttl=max(seconds, 0.0) + _GRACE_SECONDS,
            )
            for partition, message in messages.items()
        }
        names = self._grid.push_messages(list(copies.values())) if copies else []
        return {name: partition for name, partition in zip(names, copies, strict=True) if name}

    def set_run(self, run: FlowerRun) -> None:
        """Sets the run's description."""
        self._grid.set_run(run)

    @property
    def run(self) -> FlowerRun:
        """The run's description."""
        return self._grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Returns a message to a node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Returns the nodes that are connected."""
        return self._grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Sends messages, once."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Returns the replies that are there."""
        return self._grid.pull_messages(message_ids)
