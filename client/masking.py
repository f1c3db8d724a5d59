"""The client's steps of secure aggregation: what it answers, and what becomes of its reply; the secrets stay here."""

import json
import logging
import math
from pathlib import Path
from typing import Protocol

import torch

from common.config import RunConfig
from common.errors import CheckpointError, ConfigError, FederationError
from common.exchange import Reply
from common.files import read_file, write_atomically
from common.privacy.plan import PrivacyPlan
from common.secure_sum import (
    MASKED,
    FixedPoint,
    Identity,
    KeysRequest,
    Letters,
    MaskRequest,
    Member,
    SharesAnswer,
    SharesRequest,
    fingerprint,
)
from common.tree import FrozenTree, Tree

log = logging.getLogger("fedgan.client")

_LONGEST_FILE = 2**20  # bytes
_MEMBER = "member"


class Keeper(Protocol):
    """Keeps bytes from message to message, by name, as long as the node runs."""

    def get(self, name: str) -> bytes | None:
        """Returns what was put; None if nothing was, or it is gone."""

    def put(self, name: str, content: bytes) -> None:
        """Keeps ``content``."""


class SiteKeys:
    """The long-lived key of a site, and those of others that it has seen.

    With a ``state-path`` they are on its disk, for this and later runs, readable by its owner only; else where
    secrets of a round are, so that a node that is started again has another one.

    Args:
        keeper: Where secrets of a round are.
        state_path: The site's folder; empty: none.
        partition: The client's; sites may share a folder.
    """

    def __init__(self, keeper: Keeper, state_path: str, partition: int) -> None:
        self._keeper = keeper
        self._folder = Path(state_path).expanduser() / "keys" if state_path else None
        self._names = (f"partition-{partition}.key", f"known-to-partition-{partition}.json")

    @property
    def lasts(self) -> bool:
        """Whether they outlive the node's process."""
        return self._folder is not None

    def own(self) -> Identity:
        """Returns the site's key; a new one the first time."""
        found = self._get(self._names[0])
        if found is not None:
            return Identity(bytes.fromhex(found.decode()))
        identity = Identity.new()
        self._put(self._names[0], identity.secret.hex().encode())
        if self.lasts:
            log.info(
                "this site has a new key for secure aggregation, with the fingerprint %s", fingerprint(identity.public)
            )
        return identity

    def known(self) -> dict[int, bytes]:
        """Returns the keys of others, by partition."""
        found = json.loads(self._get(self._names[1]) or b"{}")
        return {int(k): bytes.fromhex(key) for k, key in found.items()}

    def remember(self, known: dict[int, bytes]) -> None:
        """Keeps the keys of others."""
        written = json.dumps({str(k): key.hex() for k, key in sorted(known.items())}, indent=1)
        self._put(self._names[1], written.encode())

    def _get(self, name: str) -> bytes | None:
        if self._folder is None:
            return self._keeper.get(name)
        path = self._folder / name
        try:
            return read_file(path, _LONGEST_FILE) if path.exists() else None
        except OSError as error:
            raise CheckpointError(f"{str(path)!r} cannot be read: {error.strerror}") from None

    def _put(self, name: str, content: bytes) -> None:
        if self._folder is None:
            self._keeper.put(name, content)
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(self._folder / name, content)
            (self._folder / name).chmod(0o600)
        except OSError as error:
            raise ConfigError(
                f"state-path={str(self._folder.parent)!r} in the node configuration: {error.strerror}"
            ) from None


def answer(
    request: MaskRequest, config: RunConfig, keeper: Keeper, keys: SiteKeys, partition: int
) -> bytes | SharesAnswer | dict[int, bytes]:
    """Returns what a client answers in a step: its keys, its secrets in shares, or its shares of others' secrets.

    Raises:
        FederationError: It cannot take part, or must not answer; says why.
    """
    threshold = config.mask_threshold
    if isinstance(request, KeysRequest):
        kept = keeper.get(_MEMBER)
        member = Member.read(kept) if kept else None
        if member is None or member.session != request.session:  # else the answer was lost on its way
            member = Member.begin(request.session, partition, keys.own())
        keeper.put(_MEMBER, member.written())
        return member.advert
    member = _member(keeper, request.session)
    found: SharesAnswer | dict[int, bytes]
    if isinstance(request, SharesRequest):
        known = keys.known()
        before = dict(known)
        found = member.share(request.adverts, threshold, known)
        if known != before:
            keys.remember(known)
    else:
        found = member.reveal(request.answered, threshold)
    keeper.put(_MEMBER, member.written())
    return found


def open_letters(letters: Letters | None, config: RunConfig, keeper: Keeper) -> Member | None:
    """Returns the client's secrets of the session that a training message is of; None: replies are not masked.

    Raises:
        FederationError: It has none, or letters that are not what they should be.
    """
    if not config.aggregator.sums_alone:
        return None
    if letters is None:
        raise FederationError(f"aggregate={config.aggregate!r}: the task came without the keys of the others")
    member = _member(keeper, letters.session)
    member.receive(letters, config.mask_threshold)
    return member


def masked(
    reply: Reply,
    received: Tree,
    member: Member,
    total: int,
    config: RunConfig,
    keeper: Keeper,
    plan: PrivacyPlan | None = None,
) -> Reply:
    """Returns a reply whose arrays are its weighted update in fixed point under the client's masks.

    Args:
        reply: The client's.
        received: What its arrays are updates of.
        member: As ``open_letters`` gives it.
        total: The sum of all clients' weights, at most.
        config: The run's.
        keeper: Where ``member`` is kept.
        plan: How the client keeps the run's promise of privacy; None: there is none.

    Raises:
        FederationError: An update is too large to be added up; names the entry. Where noise is shared, a sum might be.
    """
    if plan is not None and plan.sharers > 1:
        _require_room(config.aggregator.largest_change, reply.num_examples, plan)
    numbers = FixedPoint(config.aggregator.largest_change, total).encode(
        reply.arrays, received, config.counted_times(reply.num_examples)
    )
    member.add_masks(numbers)
    keeper.put(_MEMBER, member.written())
    arrays = FrozenTree({MASKED: torch.from_numpy(numbers.view("int64"))})
    return Reply(reply.partition, reply.num_examples, arrays, reply.metrics)


_FAR_OUT = 8.0  # standard deviations that noise stays within, but for once in 10^15


def _require_room(limit: float, num_examples: int, plan: PrivacyPlan) -> None:
    """Checks that no sum over so many examples can be too large: that one is would say more than its noise hides."""
    largest = num_examples + _FAR_OUT * plan.own_noise
    if limit < largest:
        raise FederationError(
            f"aggregate='secure-mean': sums over {num_examples:,} examples may be as large as {largest:,.0f}, and "
            f"range={limit:g}: take range={2 ** math.ceil(math.log2(largest))} or more"
        )


def _member(keeper: Keeper, session: bytes) -> Member:
    kept = keeper.get(_MEMBER)
    member = Member.read(kept) if kept else None
    if member is None or member.session.id != session:
        raise FederationError(
            "it has no keys of this round, as a node that was started again: it takes part in the next"
        )
    return member
