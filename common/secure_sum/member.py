"""The client's half of secure aggregation: what it keeps in a session, and what it answers in each step."""

import hashlib
import json
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field

from common.errors import FederationError
from common.secure_sum import shamir
from common.secure_sum.keys import Advert, Identity, Session
from common.secure_sum.masks import Numbers, add_stream, common_secret, new_secret, public_half
from common.secure_sum.messages import Letters, SharesAnswer
from common.secure_sum.shares import Shares


@dataclass
class Member:
    """A client in one session.

    Attributes:
        partition: The client's.
        session: The session.
        letters_key: Secret half of the key that letters to it are sealed for.
        masks_key: Likewise of that which masks are made of.
        seed: Of its own mask.
        advert: What it makes known of these, as it was written.
        adverts: Those of all who take part, itself included; from the second step on.
        shares: Two of 33 bytes of each client's secrets: of its own, and from the third step on of the others'.
        answer: What it said in the second step, should that be asked for again.
        has_replied: Whether a masked update was made: a second one would give away how it differs from the first.
        answered: Whose masked updates had come when it handed out shares; None: it did not yet.
        revealed: The shares that it has handed out. All other secrets are forgotten then.
    """

    partition: int
    session: Session
    letters_key: bytes
    masks_key: bytes
    seed: bytes
    advert: bytes
    adverts: dict[int, bytes] = field(default_factory=dict)
    shares: dict[int, bytes] = field(default_factory=dict)
    answer: SharesAnswer | None = None
    has_replied: bool = False
    answered: tuple[int, ...] | None = None
    revealed: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def begin(cls, session: Session, partition: int, identity: Identity) -> "Member":
        """Returns a client with new keys of the operating system's random numbers."""
        letters_key, masks_key, seed = new_secret(), new_secret(), new_secret()
        advert = Advert(
            public_half(letters_key), public_half(masks_key), seed_digest(session, partition, seed), identity.public
        )
        written = advert.signed(session, partition, identity).written()
        return cls(partition, session, letters_key, masks_key, seed, written)

    def share(self, adverts: Mapping[int, bytes], threshold: int, known: MutableMapping[int, bytes]) -> SharesAnswer:
        """Returns letters to all others with shares of this client's secrets.

        Args:
            adverts: The keys of all who take part, as they were written.
            threshold: Shares that it takes to know a secret.
            known: The long-lived keys of others that this site has seen, by partition; those that are new are added.

        Raises:
            FederationError: Too few clients, or keys that are not theirs of this session; names whose.
        """
        if self.answer is not None:
            if dict(adverts) != self.adverts:
                raise FederationError("it has shared its secrets among other clients already, in the same round")
            return self.answer
        self._require(len(adverts), threshold)
        if adverts.get(self.partition) != self.advert:
            raise FederationError(f"the keys of partition {self.partition} are not those that it has sent")
        found = {k: self._checked(k, content, known) for k, content in sorted(adverts.items())}
        if len({advert.masks for advert in found.values()}) < len(found):
            raise FederationError("two clients have the same keys")
        mask_shares = shamir.split(int.from_bytes(self.masks_key, "big"), threshold, list(found))
        seed_shares = shamir.split(int.from_bytes(self.seed, "big"), threshold, list(found))
        shares = {k: Shares.of(mask_shares[k], seed_shares[k]) for k in found}
        letters = {
            k: shares[k].sealed(self.session, self.partition, k, self.letters_key, advert.letters)
            for k, advert in found.items()
            if k != self.partition
        }
        digests = {k: one.digests(self.session, self.partition, k) for k, one in shares.items()}
        self.adverts = dict(adverts)
        own = shares[self.partition]
        self.shares = {self.partition: own.mask_key + own.seed}
        self.answer = SharesAnswer(letters, digests)
        return self.answer

    def receive(self, letters: Letters, threshold: int) -> None:
        """Opens the letters of those who take part to the end.

        Raises:
            FederationError: Not this client's turn, too few clients, or a letter that is not what its sender said.
        """
        if self.answer is None or self.has_replied:
            done = "already sent its masked update" if self.has_replied else "not shared its secrets yet"
            raise FederationError(f"it has {done} in this round: it takes part again in the next")
        self._require(len(letters.letters.keys() | {self.partition}), threshold)
        for owner, letter in sorted(letters.letters.items()):
            if owner == self.partition or owner not in self.adverts:
                raise FederationError(
                    f"a letter of partition {owner}, which is none of the others that have shared keys"
                )
            public = Advert.read(self.adverts[owner]).letters
            shares = Shares.opened(letter, self.session, owner, self.partition, self.letters_key, public)
            if shares.digests(self.session, owner, self.partition) != letters.digests.get(owner):
                raise FederationError(f"the shares that partition {owner} gave away are not those that it says")
            self.shares[owner] = shares.mask_key + shares.seed

    def add_masks(self, numbers: Numbers) -> None:
        """Adds this client's masks to its encoded update, in place; once a session.

        Raises:
            FederationError: It was done already, or a client's key cannot be used; names it.
        """
        if self.has_replied:
            raise FederationError("it has already sent its masked update in this round")
        self.has_replied = True
        add_stream(numbers, self.seed)
        for other in self.shares:
            if other != self.partition:
                public = Advert.read(self.adverts[other]).masks
                seed = pair_seed(self.session, self.masks_key, public, self.partition, other)
                add_stream(numbers, seed, subtract=self.partition > other)

    def reveal(self, answered: tuple[int, ...], threshold: int) -> dict[int, bytes]:
        """Returns a share of each client: of the seed of those who have answered, of the mask key of the others.

        Raises:
            FederationError: Too few have, others than took part, or it was asked already of others.
        """
        if self.answered is not None:
            if self.answered != answered:
                raise FederationError(
                    "it has handed out shares for another sum of this round: never both of one client's"
                )
            return self.revealed
        if not self.has_replied or self.partition not in answered or not self.shares.keys() >= set(answered):
            raise FederationError("it is asked to unmask a sum that it is not in, or with clients that took no part")
        self._require(len(set(answered)), threshold)
        size = shamir.SHARE_BYTES
        self.revealed = {k: two[size:] if k in answered else two[:size] for k, two in sorted(self.shares.items())}
        self.answered, self.shares = answered, {}
        self.letters_key = self.masks_key = self.seed = b""
        return self.revealed

    def written(self) -> bytes:
        """Returns it as bytes, which ``read`` takes. They hold secrets."""
        session = self.session
        return json.dumps(
            {
                "partition": self.partition,
                "session": [session.id.hex(), session.run, session.round],
                "secrets": [self.letters_key.hex(), self.masks_key.hex(), self.seed.hex()],
                "advert": self.advert.hex(),
                "adverts": _written(self.adverts),
                "shares": _written(self.shares),
                "answer": self.answer and [_written(self.answer.letters), _written(self.answer.digests)],
                "has-replied": self.has_replied,
                "answered": self.answered,
                "revealed": _written(self.revealed),
            }
        ).encode()

    @classmethod
    def read(cls, content: bytes) -> "Member":
        """Returns what ``written`` was called of."""
        found = json.loads(content)
        id, run, round = found["session"]
        answer, answered = found["answer"], found["answered"]
        letters_key, masks_key, seed = map(bytes.fromhex, found["secrets"])
        return cls(
            found["partition"],
            Session(bytes.fromhex(id), run, round),
            letters_key,
            masks_key,
            seed,
            advert=bytes.fromhex(found["advert"]),
            adverts=_read(found["adverts"]),
            shares=_read(found["shares"]),
            answer=SharesAnswer(*map(_read, answer)) if answer else None,
            has_replied=found["has-replied"],
            answered=None if answered is None else tuple(answered),
            revealed=_read(found["revealed"]),
        )

    def _checked(self, partition: int, content: bytes, known: MutableMapping[int, bytes]) -> Advert:
        advert = Advert.read(content)
        advert.check(self.session, partition)
        if known.setdefault(partition, advert.identity) != advert.identity:
            raise FederationError(
                f"the site's key of partition {partition} is another than the one that partition {self.partition} knows"
            )
        return advert

    def _require(self, num: int, threshold: int) -> None:
        if num < threshold:
            raise FederationError(f"{num} clients are left in the round, and nothing is revealed below {threshold}")


def seed_digest(session: Session, partition: int, seed: bytes) -> bytes:
    """Returns what a client's seed can be recognised by (32 bytes)."""
    return hashlib.sha256(session.bound("seed", partition) + seed).digest()


def pair_seed(session: Session, secret: bytes, public: bytes, one: int, other: int) -> bytes:
    """Returns the seed of the stream that two clients have in common, from one's secret and the other's public key.

    Raises:
        FederationError: A key with which any secret would be the same.
    """
    low, high = sorted((one, other))
    try:
        return common_secret(secret, public, session.bound("mask", low, high))
    except ValueError:
        raise FederationError(f"the keys of partitions {low} and {high} cannot be used together") from None


def _written(by_partition: Mapping[int, bytes]) -> dict[str, str]:
    return {str(k): value.hex() for k, value in by_partition.items()}


def _read(written: Mapping[str, str]) -> dict[int, bytes]:
    return {int(k): bytes.fromhex(value) for k, value in written.items()}
