"""The clients of a run as a Flower Grid that does not lose them: by partition, over nodes that come and go.

Flower's own grids look for replies every 3 s, try once, and take a client that was restarted for another one. This one
looks often at first and less often later, sends a message again when the client that lost it is back, and knows a
client by its partition id and data, whatever node id Flower gives it.
"""

import logging
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

import httpx
from flwr.app import Message, MessageType, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run as FlowerRun

from common import wire
from common.config import RunConfig
from common.errors import FederationError, ProtocolError
from server.cohort import Roster, form_roster, one_line, reason_of

log = logging.getLogger("fedgan.server")

LOST = (ErrorCode.NODE_UNAVAILABLE, ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE)
"""Errors that say that a message or its reply was lost on the way, not that the client failed."""

_FIRST_WAIT, _LONGEST_WAIT = 0.02, 0.5  # seconds between two looks for replies
_MOST_LOSSES = 2  # of one client in one round, while its node was there
_GRACE_SECONDS = 60.0  # messages live this much longer than their round


class PatientGrid(Grid):
    """A grid over another one.

    Args:
        grid: The runtime's own.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._roster: Roster | None = None
        self._nodes: dict[int, int] = {}  # partition -> node
        self._candidates: dict[int, int] = {}  # partition -> a node that says it holds it while another one does
        self._queries: dict[str, int] = {}  # id of an unanswered query -> node
        self._needs_label_counts = False
        self._asked: set[int] = set()
        self._absent: set[int] = set()  # partitions that were offline to the end of a round
        self._partitions: dict[str, int] = {}  # id of a message of this round -> partition
        self._silence: dict[int, str] = {}  # partition -> why it has no reply in this round

    def roll_call(self, config: RunConfig) -> Roster:
        """Waits for all clients, asks each who it is, and returns them if they form one federation.

        Raises:
            FederationError: Too few clients within ``federation.wait-seconds``, a client that fails to answer, two that
                hold one partition, or clients whose data do not fit each other.
            ProtocolError: A client that runs other code than this server, or whose answer cannot be read.
        """
        wanted = config.federation.num_clients
        self._needs_label_counts = config.needs_label_counts
        deadline = time.monotonic() + config.federation.wait_seconds
        answers: dict[int, wire.RollCall] = {}
        for _ in _waits():
            online = set(self._grid.get_node_ids())
            self._query(online)
            problems = []
            for node, answer in self._answers():
                if isinstance(answer, ProtocolError):
                    raise answer
                if isinstance(answer, str):
                    problems.append(answer)
                elif answer.partition in answers:
                    problems.append(f"two nodes hold partition {answer.partition}")
                else:
                    answers[answer.partition] = answer
                    self._nodes[answer.partition] = node
            if problems:
                listed = "; ".join(dict.fromkeys(problems))
                raise FederationError(f"the roll call of {wanted} clients failed: {listed}")
            late = time.monotonic() > deadline
            if len(answers) >= wanted and (late or not self._queries or len(online) <= wanted):
                break
            if late:
                raise FederationError(_too_few(len(online), answers, config))
        self._roster = form_roster(answers, wanted)
        return self._roster

    def node_of(self, partition: int) -> int:
        """Returns the node that holds a partition, as far as is known."""
        return self._nodes[partition]

    def partition_of(self, reply: Message) -> int | None:
        """Returns whose reply this is, of those that the last ``send_and_receive`` returned; None for any other."""
        return self._partitions.get(reply.metadata.reply_to_message_id)

    def reason_of_silence(self, partition: int) -> str:
        """Returns why the last ``send_and_receive`` has no reply of a partition."""
        return self._silence.get(partition, "no reply within federation.round-seconds")

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Sends messages and returns the replies that came in time, errors among them.

        A message whose client is away, or that was lost with it, is sent again when the client is back, under whatever
        node id, with the same partition and data. A client that stayed away to the end of one round is not waited for
        in the next ones, until it is back.

        Args:
            messages: At most one a client, to ``node_of`` its partition.
            timeout: Seconds; None: without end.
        """
        holders = {node: partition for partition, node in self._nodes.items()}
        unsent = {holders[message.metadata.dst_node_id]: message for message in messages}
        templates = dict(unsent)
        self._partitions, self._silence = {}, {}
        pending: dict[str, int] = {}
        replies: list[Message] = []
        lost: Counter[int] = Counter()
        if not unsent:
            return replies
        deadline = None if timeout is None else time.monotonic() + timeout
        for _ in _waits():
            online = set(self._grid.get_node_ids())
            self._welcome(online, busy=set(pending.values()))
            self._absent -= {partition for partition in unsent if self._nodes[partition] in online}
            left = None if deadline is None else deadline - time.monotonic()
            pending |= self._push({k: m for k, m in unsent.items() if self._nodes[k] in online}, left)
            sent = set(pending.values())
            unsent = {k: m for k, m in unsent.items() if k not in sent and k not in self._absent}
            found, unreadable = self._pull(pending)
            self._silence |= {pending.pop(name): why for name, why in unreadable.items()}
            for name, reply in found.items():
                partition = pending.pop(name)
                if reply.has_error() and reply.error.code in LOST:
                    lost[partition] += self._nodes[partition] in online  # a client may say so itself, again and again
                    if lost[partition] > _MOST_LOSSES:
                        self._silence[partition] = f"its replies were lost {lost[partition]} times while it was there"
                        continue
                    log.info("partition %d is away: %s", partition, reason_of(reply))
                    unsent[partition] = templates[partition]
                else:
                    self._partitions[name] = partition
                    replies.append(reply)
            if not unsent and not pending:
                break
            if deadline is not None and time.monotonic() > deadline:
                self._absent |= set(unsent)
                break
        self._silence |= dict.fromkeys(self._absent & templates.keys(), "its node is away")
        return replies

    def ask(self, action: str, question: RecordDict, seconds: float) -> tuple[dict[int, wire.Answer], dict[int, str]]:
        """Asks every client something beside the rounds.

        Args:
            action: The name under which the ClientApp has registered what answers it.
            question: See ``wire.encode_question``.
            seconds: How long to wait for answers.

        Returns:
            The answers by partition, ascending, and why the others have not answered.
        """
        kind = f"{MessageType.QUERY}.{action}"
        replies = self.send_and_receive(
            [Message(RecordDict(dict(question)), node, kind) for node in self._nodes.values()], timeout=seconds
        )
        answers: dict[int, wire.Answer] = {}
        silent: dict[int, str] = {}
        for reply in replies:
            partition = self.partition_of(reply)
            assert partition is not None, "these are replies to the messages above"
            if reply.has_error():
                silent[partition] = reason_of(reply)
                continue
            try:
                answer = wire.decode_answer(reply.content)
                if answer.partition != partition:
                    raise ProtocolError(f"the answer says partition {answer.partition}, its node holds {partition}")
            except ProtocolError as error:
                silent[partition] = one_line(str(error))
                continue
            if answer.refusal:
                silent[partition] = one_line(answer.refusal)
            else:
                answers[partition] = answer
        left = self._nodes.keys() - answers.keys() - silent.keys()
        late = f"no answer within evaluation.answer-seconds={seconds:g}"
        silent |= {partition: self._silence.get(partition, late) for partition in left}
        return {k: answers[k] for k in sorted(answers)}, {k: silent[k] for k in sorted(silent)}

    def _push(self, messages: Mapping[int, Message], seconds: float | None) -> dict[str, int]:
        """Sends copies to the nodes that hold the partitions now; returns partitions by message id."""
        copies = {
            partition: Message(
                message.content,
                self._nodes[partition],
                message.metadata.message_type,
                group_id=message.metadata.group_id,
                ttl=None if seconds is None else max(seconds, 0.0) + _GRACE_SECONDS,
            )
            for partition, message in messages.items()
        }
        names = self._grid.push_messages(list(copies.values())) if copies else []
        return {name: partition for name, partition in zip(names, copies, strict=True) if name}

    def _pull(self, names: Collection[str]) -> tuple[dict[str, Message], dict[str, str]]:
        """Returns the replies that are there, by the id of their message, and why others cannot be read.

        One at a time: a reply's own header is its sender's word, bytes that are no message make Flower raise for all
        that are asked for with them, and what was asked for once is gone from the SuperLink.
        """
        found: dict[str, Message] = {}
        unreadable: dict[str, str] = {}
        for name in names:
            try:
                replies = list(self._grid.pull_messages([name]))
            except (httpx.HTTPError, OSError):
                raise
            except Exception as error:  # whatever Flower raises
                unreadable[name] = one_line(f"its reply cannot be read: {error}")
                continue
            for reply in replies:
                reply.metadata.__dict__["_reply_to_message_id"] = name
                found[name] = reply
        return found, unreadable

    def _query(self, online: Collection[int]) -> None:
        """Asks nodes that were not asked yet who they are."""
        new = sorted(set(online) - self._asked)
        if new:
            messages = [Message(wire.encode_query(self._needs_label_counts), node, MessageType.QUERY) for node in new]
            names = self._grid.push_messages(messages)
            self._queries |= {name: node for name, node in zip(names, new, strict=True) if name}
            self._asked |= set(new)

    def _answers(self) -> list[tuple[int, wire.RollCall | str | ProtocolError]]:
        """Returns what nodes have answered since: who they are, or why they cannot say it or cannot be understood."""
        found: list[tuple[int, wire.RollCall | str | ProtocolError]] = []
        replies, unreadable = self._pull(self._queries)
        found += [(self._queries.pop(name), why) for name, why in unreadable.items()]
        for name, reply in replies.items():
            node = self._queries.pop(name)
            if not reply.has_error():
                try:
                    answer = wire.decode_roll_call(reply.content)
                    _check_same_code(answer)
                except ProtocolError as error:
                    found.append((node, error))
                else:
                    found.append((node, answer))
            elif reply.error.code in LOST:
                self._asked.discard(node)  # it may come back
            else:
                found.append((node, reason_of(reply)))
        return found

    def _welcome(self, online: Collection[int], busy: Collection[int]) -> None:
        """Takes back clients that come under a new node id, if they are who they were.

        Args:
            online: Nodes that are connected.
            busy: Partitions whose node has an unanswered message; they move when Flower gives that node up.
        """
        assert self._roster is not None, "roll_call() comes first"
        self._query(online)
        for node, answer in self._answers():
            if not isinstance(answer, wire.RollCall):
                log.warning("a node that joins late is left out: %s", one_line(str(answer)))
            elif answer != self._roster.clients.get(answer.partition):
                log.warning("a node that says it holds partition %d is left out: other data", answer.partition)
            else:
                self._candidates[answer.partition] = node
        for partition, node in list(self._candidates.items()):
            if node in online and self._nodes[partition] not in online and partition not in busy:
                log.info("partition %d is back", partition)
                self._nodes[partition] = node
                del self._candidates[partition]

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


def _waits() -> Iterator[None]:
    """Yields at once, then after ever longer waits."""
    seconds = _FIRST_WAIT
    while True:
        yield
        time.sleep(seconds)
        seconds = min(1.5 * seconds, _LONGEST_WAIT)


def _too_few(num_online: int, answers: Mapping[int, wire.RollCall], config: RunConfig) -> str:
    wanted, seconds = config.federation.num_clients, config.federation.wait_seconds
    if num_online < wanted:
        return (
            f"{num_online} of {wanted} clients connected within federation.wait-seconds={seconds:g}: start more "
            f"SuperNodes (in Flower's simulation: flwr run . --federation-config \"num-supernodes={wanted} "
            f'client-resources-num-cpus=1") or set federation.num-clients={num_online}'
        )
    missing = [str(k) for k in range(wanted) if k not in answers]
    listed = ", ".join(missing[:10]) + (" ..." if missing[10:] else "")
    return f"the roll call of {wanted} clients failed: no answer from partition {listed} within {seconds:g} s"


def _check_same_code(answer: wire.RollCall) -> None:
    if answer.fingerprint != wire.source_fingerprint():
        raise ProtocolError(
            f"partition {answer.partition} runs other code (fingerprint {answer.fingerprint}) than this server "
            f"({wire.source_fingerprint()}): install the same fedgan on both; under 'flwr run', stop the local "
            "flower-superlink process, which may be that of another checkout, and start it from a neutral folder"
        )
