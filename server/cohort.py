"""Who takes part: the roster of clients by partition, and the cohort of a round."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from common import wire
from common.config import RunConfig
from common.datasets.base import ImageShape
from common.errors import FederationError, ProtocolError
from common.seeding import numpy_generator

_POLL_SECONDS = 0.5
_FLOWER_REASON = re.compile(r"<class '(?:[\w.]+\.)?(?P<type>\w+)'>:<'(?P<text>.*)'>", re.DOTALL)


@dataclass(frozen=True)
class Roster:
    """The clients of a run, by partition id in ascending order. Flower's node ids change from run to run."""

    nodes: Mapping[int, int]
    clients: Mapping[int, wire.RollCall]

    @property
    def shape(self) -> ImageShape:
        """Of the images that all clients hold."""
        return next(iter(self.clients.values())).shape

    def sample(self, fraction: float, seed: int, round: int) -> list[int]:
        """Returns the partition ids of a round's cohort, ascending: a function of the seed and the round alone."""
        size = max(1, round_half_up(fraction * len(self.clients)))
        ids = list(self.clients)
        if size < len(ids):
            ids = numpy_generator(seed, "cohort", round).choice(ids, size=size, replace=False).tolist()
        return sorted(ids)

    def summary(self) -> dict[str, object]:
        """Returns who holds what, as it is written to ``partition.json`` and compared on resume."""
        return {
            "shape": {"channels": self.shape.channels, "size": self.shape.size, "num-classes": self.shape.num_classes},
            "clients": [
                {"partition": k, "num-examples": c.num_examples, "label-counts": list(c.label_counts)}
                for k, c in self.clients.items()
            ],
        }


def round_half_up(value: float) -> int:
    """Returns the nearest whole number, halves up (Python's ``round`` takes halves to even)."""
    return int(value + 0.5)


def roll_call(grid: Grid, config: RunConfig) -> Roster:
    """Waits for all clients, asks each who it is, and checks that they form this federation.

    Raises:
        FederationError: Too few nodes within ``federation.wait-seconds``, a client that fails to answer, or partition
            ids that are not 0 ... num-clients - 1.
        ProtocolError: A client that runs other code than this server.
    """
    wanted = config.federation.num_clients
    node_ids = _wait_for_nodes(grid, wanted, config.federation.wait_seconds)
    replies = grid.send_and_receive(
        [Message(wire.encode_query(), node_id, MessageType.QUERY) for node_id in node_ids],
        timeout=config.federation.wait_seconds,
    )
    clients: dict[int, wire.RollCall] = {}
    nodes: dict[int, int] = {}
    problems = []
    for reply in replies:
        if reply.has_error():
            problems.append(reason_of(reply))
            continue
        answer = wire.decode_roll_call(reply.content)
        _check_same_code(answer)
        if answer.partition in clients:
            problems.append(f"two nodes hold partition {answer.partition}")
        clients[answer.partition] = answer
        nodes[answer.partition] = reply.metadata.src_node_id
    missing = [str(k) for k in range(wanted) if k not in clients]
    if problems or missing:
        if not problems:
            problems.append(f"no answer from partition {', '.join(missing[:10])}{' ...' if missing[10:] else ''}")
        raise FederationError(f"the roll call of {wanted} clients failed: {'; '.join(dict.fromkeys(problems))}")
    shapes = {answer.shape for answer in clients.values()}
    if len(shapes) > 1:
        listed = "; ".join(f"partition {k}: {clients[k].shape}" for k in sorted(clients))
        raise FederationError(f"the clients hold images of different shapes: {listed}")
    order = sorted(clients)
    return Roster({k: nodes[k] for k in order}, {k: clients[k] for k in order})


def reason_of(reply: Message) -> str:
    """Returns one line that says why a client failed: ``ValueError: ...``, without Flower's and Python's frames."""
    text = (reply.error.reason or "").strip()
    if match := _FLOWER_REASON.fullmatch(text):
        text = match["text"] if "Traceback" in match["text"] else f"{match['type']}: {match['text']}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"^(\w+\.)+(?=\w+: )", "", lines[-1]) if lines else f"error code {reply.error.code}"


def _wait_for_nodes(grid: Grid, wanted: int, seconds: float) -> list[int]:
    deadline = time.monotonic() + seconds
    while len(ids := sorted(grid.get_node_ids())) < wanted:
        if time.monotonic() > deadline:
            raise FederationError(
                f"{len(ids)} of {wanted} clients connected within federation.wait-seconds={seconds:g}: start more "
                f"SuperNodes (in Flower's simulation: flwr run . --federation-config \"num-supernodes={wanted} "
                f'client-resources-num-cpus=1") or set federation.num-clients={len(ids)}'
            )
        time.sleep(_POLL_SECONDS)
    if len(ids) > wanted:
        raise FederationError(
            f"{len(ids)} clients connected, federation.num-clients is {wanted}: start as many SuperNodes as clients"
        )
    return ids


def _check_same_code(answer: wire.RollCall) -> None:
    if answer.fingerprint != wire.source_fingerprint():
        raise ProtocolError(
            f"partition {answer.partition} runs other code (fingerprint {answer.fingerprint}) than this server "
            f"({wire.source_fingerprint()}): install the same fedgan on both; under 'flwr run', stop the local "
            "flower-superlink process, which may be that of another checkout, and start it from a neutral folder"
        )
