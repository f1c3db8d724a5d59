"""Which node holds which client's data, over nodes that come and go: the roll call, and who comes back later."""

import logging
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

import httpx
from flwr.app import Message, MessageType
from flwr.common.constant import ErrorCode
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid

from common import wire
from common.config import RunConfig
from common.errors import FederationError, FedGANError, MismatchError, ProtocolError, lasts
from server.clients.deadlines import duration, listed
from server.clients.roster import Roster, failure_of, form_roster, one_line
from server.clients.waiting import Seldom

log = logging.getLogger("fedgan.server")

LOST = (ErrorCode.NODE_UNAVAILABLE, ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE)
"""Errors that say that a message or its reply was lost on the way, not that the client failed."""

T = TypeVar("T")

_NO_HEARTBEATS = 1e9  # seconds between heartbeats; Flower's simulation has more
_QUIET_SECONDS = 3.0
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
        self._known: dict[int, NodeInfo] = {}
        self._answered: dict[int, wire.RollCall] = {}
        self._candidates: dict[int, int] = {}  # partition -> a node that says it holds it while another one does
        self._queries: dict[str, int] = {}  # id of an unanswered query -> node
        self._needs_label_counts = False
        self._requested: set[int] = set()

    def online(self) -> set[int]:
        """Returns the nodes that are connected."""
        found = {node.node_id: node for node in self._grid.get_nodes()}
        self._known |= found
        return set(found)

    @property
    def can_lose(self) -> bool:
        """Whether nodes can get lost: those of a simulation cannot, and send no heartbeats."""
        return any(0 < node.heartbeat_interval < _NO_HEARTBEATS for node in self._known.values())

    def label(self, partition: int) -> str:
        """Returns how messages to people name a client."""
        answer = self._answered.get(partition)
        return answer.label if answer else f"partition {partition}"

    def roll_call(self, config: RunConfig) -> Roster:
        """Waits for all clients, asks each who it is, and returns them if they form one federation.

        Raises:
            FederationError: Too few clients within ``federation.wait-seconds``, or one that fails.
            MismatchError: Two clients that hold one partition, one whose configuration or data cannot be used, or data
                that do not fit each other.
            ProtocolError: A client that runs other code than this server, or whose answer cannot be read.
        """
        num, seconds = config.federation.num_clients, config.federation.wait_seconds
        self._needs_label_counts = config.needs_label_counts
        begin, say = time.monotonic(), Seldom()
        answers = self._answered
        for _ in waits():
            online = self.online()
            self._query(online)
            problems: list[FedGANError] = []
            for node, answer in self._answers():
                if isinstance(answer, ProtocolError):
                    raise answer
                if isinstance(answer, FedGANError):
                    problems.append(answer)
                elif answer.partition in answers:
                    other = self.nodes[answer.partition]
                    nodes = f" ({self._node(other)} and {self._node(node)})" if self.can_lose else ""
                    problems.append(
                        MismatchError(
                            f"two nodes hold partition {answer.partition}{nodes}: give one of them another partition-id"
                        )
                    )
                else:
                    answers[answer.partition] = answer
                    self.nodes[answer.partition] = node
            if problems:
                reasons = "; ".join(dict.fromkeys(map(str, problems)))
                kind = MismatchError if any(map(lasts, problems)) else FederationError
                raise kind(f"the roll call of {num} clients failed: {reasons}")
            waited = time.monotonic() - begin
            late = waited > seconds
            if len(answers) >= num and (late or not self._queries or len(online) <= num):
                break
            if late:
                raise FederationError(self._too_few(online, config))
            if waited > _QUIET_SECONDS:
                news = sorted(answers), sorted(online)
                say(news, lambda: self._progress(online, num, seconds - waited))  # noqa: B023 (called at once)
        roster = form_roster(answers, num)
        self._introduce(roster)
        return roster

    def welcome(self, online: Collection[int], busy: Collection[int]) -> None:
        """Takes back clients that come under a new node id, if they are who they were.

        Args:
            online: Nodes that are connected.
            busy: Partitions whose node has an unanswered message; they move when Flower gives that node up.
        """
        assert self._answered, "roll_call() comes first"
        self._query(online)
        for node, answer in self._answers():
            if not isinstance(answer, wire.RollCall):
                log.warning("a node that joins late is left out: %s", one_line(str(answer)))
            elif answer != self._answered.get(answer.partition):
                log.warning("a node that says it holds partition %d is left out: other data", answer.partition)
            else:
                self._candidates[answer.partition] = node
        for partition, node in list(self._candidates.items()):
            if node in online and self.nodes[partition] not in online and partition not in busy:
                log.info("%s is back", self.label(partition))
                self.nodes[partition] = node
                del self._candidates[partition]

    def _query(self, online: Collection[int]) -> None:
        """Sends nodes that are new the question who they are."""
        new = sorted(set(online) - self._requested)
        if new:
            messages = [
                Message(wire.encode_roll_call_request(self._needs_label_counts), node, MessageType.QUERY)
                for node in new
            ]
            names = self._grid.push_messages(messages)
            self._queries |= {name: node for name, node in zip(names, new, strict=True) if name}
            self._requested |= set(new)

    def _answers(self) -> list[tuple[int, wire.RollCall | FedGANError]]:
        """Returns what nodes have answered since: who they are, or why they cannot say it or cannot be understood."""
        found: list[tuple[int, wire.RollCall | FedGANError]] = []
        replies, unreadable = pull(self._grid, self._queries)
        found += [(node, self._blame(node, FederationError(why))) for node, why in self._popped(unreadable)]
        for node, reply in self._popped(replies):
            if not reply.has_error():
                try:
                    answer = wire.decode_roll_call(reply.content)
                    answer = replace(answer, site=self._registered_name(node) or answer.site)
                    _check_same_code(answer)
                except ProtocolError as error:
                    found.append((node, error))
                else:
                    found.append((node, answer))
            elif reply.error.code in LOST:
                self._requested.discard(node)  # it may come back
            else:
                found.append((node, self._blame(node, failure_of(reply))))
        return found

    def _popped(self, by_name: Mapping[str, T]) -> list[tuple[int, T]]:
        return [(self._queries.pop(name), value) for name, value in by_name.items()]

    def _registered_name(self, node: int) -> str:
        """Returns the name under which the operator has registered a node's key, empty for none."""
        try:
            return wire.check_site_name(self._known[node].name.strip())
        except ValueError:
            return ""

    def _node(self, node: int) -> str:
        """Returns how messages to people name a node: by its registered name too, where it has one."""
        name = self._registered_name(node)
        return f"{name} (node {node})" if name else f"node {node}"

    def _blame(self, node: int, error: FedGANError) -> FedGANError:
        """Returns an error that names its node, where people can find that node."""
        return type(error)(f"{self._node(node)}: {error}") if self.can_lose else error

    def _connected(self, online: Collection[int]) -> list[str]:
        """Returns how the sites that are connected are called; of those that have not answered their node is known."""
        silent = sorted(set(self._queries.values()) & set(online))
        here = [self._answered[k].label for k in sorted(self._answered)]
        return here + [f"{self._node(node)}, which has not answered yet" for node in silent]

    def _progress(self, online: Collection[int], num: int, left: float) -> str:
        here = self._connected(online)
        missing = [f"partition {k}" for k in range(num) if k not in self._answered]
        if len(missing) != num - len(here):  # nobody knows what those hold who have not answered
            missing = [f"{num - len(here)} more"] if len(here) < num else ["answers"]
        return (
            f"{len(here)} of {num} sites are connected{': ' if here else ''}{listed(here)}; "
            f"waiting up to {duration(left)} more for {listed(missing)}"
        )

    def _introduce(self, roster: Roster) -> None:
        """Says who is who, where nodes are machines that people know, and which names stand for several."""
        named = Counter(roster.names.values())
        for name in (name for name, times in named.items() if times > 1):
            which = listed(str(k) for k, other in roster.names.items() if other == name)
            log.warning("%d sites are called %s: partition %s; give each its own name", named[name], name, which)
        if self.can_lose:
            who = listed((f"{roster.label(k)} is node {self.nodes[k]}" for k in roster.clients), 20)
            log.info("all %d sites are here: %s", len(roster.clients), who)

    def _too_few(self, online: Collection[int], config: RunConfig) -> str:
        """Says who has not come, and what to do."""
        num_online = len(online)
        num, seconds = config.federation.num_clients, config.federation.wait_seconds
        if not num_online:
            return (
                f"0 of {num} clients connected within federation.wait-seconds={seconds:g}: start the SuperNodes and "
                "read there why they do not connect ('fedgan sites' lists those that are registered)"
            )
        if num_online < num:
            here, way = "", "start the SuperNodes of the others ('fedgan sites' lists who is online)"
            if self.can_lose:
                here = f" ({listed(self._connected(online))})"
            else:
                way = f'flwr run . --federation-config "num-supernodes={num} client-resources-num-cpus=1"'
            return (
                f"{num_online} of {num} clients connected within federation.wait-seconds={seconds:g}{here}: {way}, "
                f"or wait longer, or set federation.num-clients={num_online}"
            )
        missing = listed(str(k) for k in range(num) if k not in self._answered)
        silent = listed(self._node(node) for node in sorted(set(self._queries.values())))
        nodes = f" ({silent})" if silent and self.can_lose else ""
        return (
            f"the roll call of {num} clients failed: no answer from partition {missing}{nodes} within {seconds:g} s "
            "(federation.wait-seconds)"
        )


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


def _check_same_code(answer: wire.RollCall) -> None:
    if answer.fingerprint != wire.source_fingerprint():
        raise ProtocolError(
            f"{answer.label} runs other code (fingerprint {answer.fingerprint}) than this server "
            f"({wire.source_fingerprint()}): install the same fedgan on both; under 'flwr run', stop the local "
            "flower-superlink process, which may be that of another checkout, and start it from a neutral folder"
        )
