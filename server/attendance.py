"""Which node holds which client's data, over nodes that come and go: the roll call, and who comes back later."""

import logging
import time
from collections.abc import Collection, Iterator, Mapping

import httpx
from flwr.app import Message, MessageType
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from common import wire
from common.config import RunConfig
from common.errors import FederationError, ProtocolError
from server.cohort import Roster, form_roster, one_line, reason_of

log = logging.getLogger("fedgan.server")

LOST = (ErrorCode.NODE_UNAVAILABLE, ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE)
"""Errors that say that a message or its reply was lost on the way, not that the client failed."""

_FIRST_WAIT, _LONGEST_WAIT = 0.02, 0.5  # seconds between two looks for replies


class Attendance:
    """The clients of a run by partition.

    Args:
        grid: The runtime's own.

    Attributes:
        nodes: The node that holds each partition, as far as is known.
    """

    def __init__(self, grid: Grid) -> None:
        self.nodes: dict[int, int] = {}
        self._grid = grid
        self._roster: Roster | None = None
        self._candidates: dict[int, int] = {}  # partition -> a node that says it holds it while another one does
        self._queries: dict[str, int] = {}  # id of an unanswered query -> node
        self._needs_label_counts = False
        self._asked: set[int] = set()

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
        for _ in waits():
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
                    self.nodes[answer.partition] = node
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

    def welcome(self, online: Collection[int], busy: Collection[int]) -> None:
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
            if node in online and self.nodes[partition] not in online and partition not in busy:
                log.info("partition %d is back", partition)
                self.nodes[partition] = node
                del self._candidates[partition]

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
        replies, unreadable = pull(self._grid, self._queries)
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


def pull(grid: Grid, names: Collection[str]) -> tuple[dict[str, Message], dict[str, str]]:
    """Returns the replies that are there, by the id of their message, and why others cannot be read.

    One at a time: a reply's own header is its sender's word, bytes that are no message make Flower raise for all
    that are asked for with them, and what was asked for once is gone from the SuperLink.
    """
    found: dict[str, Message] = {}
    unreadable: dict[str, str] = {}
    for name in names:
        try:
            replies = list(grid.pull_messages([name]))
        except (httpx.HTTPError, OSError):
            raise
        except Exception as error:  # whatever Flower raises
            unreadable[name] = one_line(f"its reply cannot be read: {error}")
            continue
        for reply in replies:
            reply.metadata.__dict__["_reply_to_message_id"] = name
            found[name] = reply
    return found, unreadable


def waits() -> Iterator[None]:
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
