"""The server's half of secure aggregation: passes keys and letters on, and takes the masks out of the sum."""

from collections.abc import Collection, Mapping

from common.errors import FederationError
from common.secure_sum.keys import Advert, Session
from common.secure_sum.masks import Numbers, add_stream, public_half
from common.secure_sum.member import pair_seed, seed_digest
from common.secure_sum.messages import Letters, SharesAnswer
from common.secure_sum.shares import is_share, join


class Collector:
    """One session. What clients send may be anything.

    Args:
        session: The session.
        threshold: Shares that it takes to know a secret, and the fewest clients in a sum.
        used: Public keys that masks were made of before; this session's are added.
    """

    def __init__(self, session: Session, threshold: int, used: set[bytes] | None = None) -> None:
        self._session = session
        self._threshold = threshold
        self._adverts: dict[int, bytes] = {}
        self._used = set() if used is None else used
        self._given: dict[int, SharesAnswer] = {}
        self._revealed: dict[int, dict[int, bytes]] = {}  # by owner and holder

    @property
    def adverts(self) -> Mapping[int, bytes]:
        """The keys of all who have made some, by partition."""
        return self._adverts

    @property
    def members(self) -> list[int]:
        """Who has shared secrets, ascending: the clients that may send masked updates."""
        return sorted(self._given)

    def take_keys(self, partition: int, content: bytes, known: bytes | None) -> Advert:
        """Takes a client's keys.

        Args:
            partition: The client's.
            content: Its keys, as they were written.
            known: The long-lived key that its site is known by; None: none yet.

        Raises:
            FederationError: They are not its keys of this session.
            ProtocolError: They are none.
        """
        advert = Advert.read(content)
        advert.check(self._session, partition)
        if known is not None and advert.identity != known:
            raise FederationError(
                "its site's key is another than before: a site without a state-path has a new one whenever its node "
                "is started"
            )
        if advert.masks in self._used:
            raise FederationError("its keys are those of another client, or of an earlier round")
        self._used.add(advert.masks)
        self._adverts[partition] = content
        return advert

    def take_shares(self, partition: int, answer: SharesAnswer) -> None:
        """Takes a client's letters to the others.

        Raises:
            FederationError: Some are missing.
        """
        others = self._adverts.keys() - {partition}
        if missing := (others - answer.letters.keys()) | (self._adverts.keys() - answer.digests.keys()):
            raise FederationError(f"it has no shares for partition {', '.join(map(str, sorted(missing)))}")
        self._given[partition] = answer

    def letters_to(self, partition: int, total: int) -> Letters:
        """Returns what goes with a member's training message; ``total`` is the sum of all members' weights."""
        others = [k for k in self.members if k != partition]
        return Letters(
            self._session.id,
            {k: self._given[k].letters[partition] for k in others},
            {k: self._given[k].digests[partition] for k in self.members},
            total,
        )

    def take_revealed(self, partition: int, shares: Mapping[int, bytes], answered: Collection[int]) -> None:
        """Takes the shares that a client hands out at the end.

        Args:
            partition: The client's.
            shares: Of each member's secret, by member.
            answered: Whose masked updates have come.

        Raises:
            FederationError: Shares that it was not given: nothing of it is taken.
        """
        if shares.keys() != self._given.keys():
            raise FederationError("it has not one share of each client's secret")
        for owner, share in sorted(shares.items()):
            digests = self._given[owner].digests[partition]
            if not is_share(share, digests, self._session, owner, partition, of_seed=owner in answered):
                raise FederationError(f"the share of partition {owner}'s secret is not the one that it was given")
        for owner, share in shares.items():
            self._revealed.setdefault(owner, {})[partition] = share

    def unmask(self, total: Numbers, answered: Collection[int]) -> None:
        """Takes all masks out of the sum of the masked updates, in place.

        Args:
            total: The sum over ``answered``, modulo 2^64.
            answered: Members whose masked updates are in it.

        Raises:
            FederationError: Too few clients have handed out shares, or those of one are of no secret of its.
        """
        for owner in self.members:
            shares = self._revealed.get(owner, {})
            if len(shares) < self._threshold:
                raise FederationError(
                    f"{len(shares)} clients have handed out shares, and it takes {self._threshold} to unmask the sum"
                )
        for owner in self.members:
            secret = self._secret(owner, of_seed=owner in answered)
            if owner in answered:
                add_stream(total, secret, subtract=True)
                continue
            for other in answered:
                public = Advert.read(self._adverts[other]).masks
                seed = pair_seed(self._session, secret, public, owner, other)
                add_stream(total, seed, subtract=other < owner)  # as the other did: this takes it out

    def _secret(self, owner: int, *, of_seed: bool) -> bytes:
        """Returns the secret that the shares of it are of."""
        chosen = dict(sorted(self._revealed[owner].items())[: self._threshold])  # the same for all: factors are kept
        secret = join(chosen)
        advert = Advert.read(self._adverts[owner])
        if secret is not None:
            if of_seed and seed_digest(self._session, owner, secret) == advert.seed_digest:
                return secret
            if not of_seed and public_half(secret) == advert.masks:
                return secret
        raise FederationError(
            f"the shares that partition {owner} gave away are of no secret of its: the sum stays masked"
        )
