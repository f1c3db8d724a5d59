"""The server's steps of secure aggregation around the training of a round, and what becomes of the answers."""

import json
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from common import wire
from common.algorithms import Reply
from common.config import RunConfig
from common.errors import CheckpointError, FederationError, MismatchError, ProtocolError
from common.files import read_file, write_atomically
from common.journal_lines import MaskLine
from common.secure_sum import (
    MASKED,
    Collector,
    FixedPoint,
    KeysRequest,
    Letters,
    MaskRequest,
    Session,
    SharesRequest,
    UnmaskRequest,
)
from common.secure_sum.keys import SESSION_BYTES
from common.tree import FrozenTree, Tree
from server.clients.resilient_grid import ResilientGrid
from server.clients.roster import Roster, one_line

log = logging.getLogger("fedgan.server")

T = TypeVar("T")

_LONGEST_FILE = 2**24  # bytes


@dataclass
class MaskRecord:
    """What the steps beside a round's training took, and who dropped out in which.

    Attributes:
        seconds: Of the steps.
        bytes_down: Of keys and letters to clients.
        bytes_up: Likewise from them.
        dropped: Why clients have dropped out, by step and partition.
    """

    seconds: float = 0.0
    bytes_down: int = 0
    bytes_up: int = 0
    dropped: dict[str, dict[int, str]] = field(default_factory=dict)

    def line(self) -> MaskLine:
        """Returns what the journal says of it."""
        return {
            "seconds": self.seconds,
            "bytes-down": self.bytes_down,
            "bytes-up": self.bytes_up,
            "dropped": {
                step: [{"partition": k, "reason": why} for k, why in sorted(reasons.items())]
                for step, reasons in self.dropped.items()
                if reasons
            },
        }


class MaskedRounds:
    """Asks clients for what masks take, and takes the masks out of the sum.

    Args:
        config: The run's.
        roster: Its clients.
        grid: Where they are.
        site_keys: File of the run directory with the long-lived keys of sites.

    Raises:
        MismatchError: A site has another key than when the run began; names it.
    """

    def __init__(self, config: RunConfig, roster: Roster, grid: ResilientGrid, site_keys: Path) -> None:
        self._config = config
        self._roster = roster
        self._grid = grid
        self._threshold = config.mask_threshold
        self._known = _pinned(site_keys, roster)
        self._used: set[bytes] = set()
        self._collector = Collector(Session(b"", "", 0), self._threshold)
        self._session = b""
        self._total = 0
        self.record = MaskRecord()
        """Of the round at hand."""

    def begin(self, round: int, run: str, cohort: Iterable[int]) -> dict[int, Letters]:
        """Has a cohort make keys and share secrets, and returns what goes with the training message of each member.

        Raises:
            FederationError: Fewer members than the threshold.
        """
        start = time.perf_counter()
        self.record = MaskRecord()
        self._session = secrets.token_bytes(SESSION_BYTES)
        collector = self._collector = Collector(Session(self._session, run, round), self._threshold, self._used)
        what = f"secure aggregation of round {round}"
        request = KeysRequest(Session(self._session, run, round))
        keys = self._query(dict.fromkeys(cohort, request), "keys", what, wire.decode_keys)
        for partition, content in keys.items():
            with _noting(self.record, "keys", partition):
                advert = collector.take_keys(partition, content, self._known.get(partition))
                self._known.setdefault(partition, advert.identity)
        self._require(len(collector.adverts), "keys")
        requests = dict.fromkeys(collector.adverts, SharesRequest(self._session, dict(collector.adverts)))
        for partition, answer in self._query(requests, "shares", what, wire.decode_shares).items():
            with _noting(self.record, "shares", partition):
                collector.take_shares(partition, answer)
        self._require(len(collector.members), "shares")
        members = collector.members
        self._total = sum(self._weight(k) for k in members)
        letters = {k: collector.letters_to(k, self._total) for k in members}
        for one in letters.values():
            self.record.bytes_down += sum(map(len, (*one.letters.values(), *one.digests.values())))
        self.record.seconds = time.perf_counter() - start
        return letters

    def template(self, like: Tree) -> Tree:
        """Returns the arrays of a masked reply, for whoever checks keys, shapes and dtypes; see ``Algorithm``."""
        num = sum(value.numel() for value in like.values())
        return {MASKED: torch.empty(num, dtype=torch.int64, device="meta")}

    def end(self, replies: Sequence[Reply], like: Tree, origin: Tree, refused: Mapping[int, str]) -> list[Reply]:
        """Returns the replies with the mean of all as the arrays of each, which is all that anyone can know of them.

        Args:
            replies: Masked ones of members; as many as the threshold.
            like: A tree with the keys, shapes and dtypes of what they hold.
            origin: What it is updates of.
            refused: Why replies of others are not here, by partition.

        Raises:
            FederationError: Too few clients have handed out shares, or those of one are of no secret.
        """
        start = time.perf_counter()
        answered = tuple(sorted(reply.partition for reply in replies))
        left = [k for k in self._collector.members if k not in answered]
        self.record.dropped["masked"] = {k: refused.get(k, "no reply") for k in left}
        total = np.zeros(len(replies[0].arrays[MASKED]), np.uint64)
        for reply in replies:
            total += reply.arrays[MASKED].numpy().view(np.uint64)
        requests = dict.fromkeys(answered, UnmaskRequest(self._session, answered))
        for partition, shares in self._query(requests, "unmask", "unmasking", wire.decode_revealed).items():
            with _noting(self.record, "unmask", partition):
                self._collector.take_revealed(partition, shares, answered)
        for partition, why in self.record.dropped["unmask"].items():
            log.warning("unmasking without the shares of %s: %s", self._roster.label(partition), why)
        try:
            self._collector.unmask(total, answered)
        except FederationError as error:
            raise FederationError(f"{error}{self._reasons('unmask')}") from None
        weight = sum(self._weight(k) for k in answered)
        point = FixedPoint(self._config.aggregator.largest_change, self._total)
        mean = FrozenTree(point.decode(total, weight, like, origin))
        self.record.seconds += time.perf_counter() - start
        return [replace(reply, arrays=mean) for reply in replies]

    def _weight(self, partition: int) -> int:
        return self._config.counted_times(self._roster.clients[partition].num_examples)

    def _query(
        self, requests: Mapping[int, MaskRequest], step: str, what: str, decode: Callable[[Any], T]
    ) -> dict[int, T]:
        """Returns what clients answer in a step; why others do not is noted."""
        contents = {id(request): wire.encode_mask_request(request) for request in requests.values()}
        questions = {k: contents[id(request)] for k, request in requests.items()}
        self.record.bytes_down += sum(map(wire.field_bytes, questions.values()))
        seconds = self._config.federation.round_seconds
        found, silent = self._grid.ask_each("masks", questions, what, seconds, f"no answer in the step of {step}")
        self.record.dropped.setdefault(step, {}).update(silent)
        answers = {}
        for partition, content in found.items():
            self.record.bytes_up += wire.field_bytes(content)
            with _noting(self.record, step, partition):
                answers[partition] = decode(content)
        return answers

    def _require(self, num: int, step: str) -> None:
        if num < self._threshold:
            raise FederationError(
                f"{num} clients have taken the step of {step} of secure aggregation, and nothing is revealed below "
                f"threshold={self._threshold}{self._reasons(step)}"
            )

    def _reasons(self, step: str) -> str:
        reasons = self.record.dropped.get(step, {})
        return "".join(f"; {self._roster.label(k)}: {why}" for k, why in sorted(reasons.items()))


@contextmanager
def _noting(record: MaskRecord, step: str, partition: int) -> Iterator[None]:
    """Notes what is wrong with a client's answer, and goes on without it."""
    try:
        yield
    except (FederationError, ProtocolError) as error:
        record.dropped.setdefault(step, {})[partition] = one_line(str(error))


def _pinned(file: Path, roster: Roster) -> dict[int, bytes]:
    """Returns the long-lived keys of sites by partition: those that the run began with, which the roll call must name.

    Raises:
        MismatchError: A site has another one; names it.
    """
    try:
        kept = json.loads(read_file(file, _LONGEST_FILE)) if file.exists() else {}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from None
    known = {int(k): str(key) for k, key in kept.items()}
    for k, client in roster.clients.items():
        if known.get(k, client.site_key) != client.site_key:
            raise MismatchError(
                f"{client.label} has another key than when the run began: if it has lost its state-path, and you know "
                f"that it is the same site, remove its line from {file}"
            )
    known |= {k: client.site_key for k, client in roster.clients.items() if client.site_key}
    if known and known != {int(k): key for k, key in kept.items()}:
        write_atomically(file, json.dumps({str(k): key for k, key in sorted(known.items())}, indent=1).encode())
    try:
        return {k: bytes.fromhex(key) for k, key in known.items()}
    except ValueError:
        raise MismatchError("a site's key in the roll call is no hexadecimal number") from None
